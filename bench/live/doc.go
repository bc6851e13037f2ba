//go:build linux

// Package live plays SRT callers and servers whose sessions come and go while a
// relay between them is put under stress. Every session carries numbered data
// both ways and has a ledger at each end, so that two ledgers tell exactly
// which datagrams were lost.
//
// Bench's load and sink measure what a packet costs and hold their sessions
// still; live's sessions connect again when they are ended, as encoders do.
// What is lost is reported (NAK) and never sent again.
//
// It must not know which faults are put to the relay.
package live
