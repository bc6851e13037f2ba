// Package srt is what the load generator and the sinks say to each other: the
// forms of SRT's packets as libsrt sends them, the stamp in the payload, and
// the check of what arrived.
//
// It must not know sockets, clocks or schedules.
package srt
