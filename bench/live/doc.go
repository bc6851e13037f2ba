//go:build linux

// Package live plays SRT callers and servers whose sessions come and go while faults are
// injected. Every session carries numbered data both ways and has a ledger at each end.
// The two ledgers show exactly which datagrams were lost.
//
// Packages load and sink measure what a packet costs, with sessions that stay. Sessions of
// this package connect again when they are ended, as encoders do. It reports lost datagrams
// by NAK but never sends any again.
//
// It must not know which faults are injected.
package live
