// Package srt has the packets of the load generator and the sinks: SRT's packets as libsrt
// sends them, the stamp in the payload, and the check of what arrived.
//
// It must not know sockets, clocks or schedules.
package srt
