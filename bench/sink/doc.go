//go:build linux

// Package sink plays SRT servers behind a relay: it accepts every caller, checks what
// publishers send, and streams to players what they asked for. One thread serves all ports,
// and does little else than system calls.
//
// It must not know whether there is a relay before it, or which.
package sink
