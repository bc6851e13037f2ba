//go:build linux

// Package sink plays SRT servers behind a relay: it accepts every caller, takes
// what publishers send and checks it, and streams to players what they asked
// for. All ports are served by one thread, which measures little else than
// system calls.
//
// It must not know whether a relay stands in front of it, or which.
package sink
