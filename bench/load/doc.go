//go:build linux

// Package load plays many SRT callers: it connects them with real handshakes
// and then sends and receives what live streams consist of, by a schedule fixed
// in advance, so that a slow relay cannot slow the load.
//
// Lost datagrams are reported (NAK) and not sent again: what is lost stays
// lost, and counts.
//
// It must not know what it is aimed at.
package load
