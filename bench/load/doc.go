//go:build linux

// Package load plays many SRT callers. It connects them with real handshakes, and then
// sends and receives the datagrams of live streams by a schedule that is fixed in advance,
// so that a slow relay cannot slow the load down.
//
// It reports lost datagrams by NAK but never sends any again, so that every loss is
// counted.
//
// It must not know what it measures.
package load
