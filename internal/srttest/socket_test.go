package srttest

import (
	"net/netip"
	"testing"
)

// The bug: to close a socket in another network namespace took a second, in which nothing
// could fork: its address could not be bound here, and so seemed to be in use.
func TestAddressOfAnotherNamespaceIsNotBusy(t *testing.T) {
	t.Parallel()
	if elsewhere := netip.MustParseAddrPort("192.0.2.1:9"); busy(elsewhere) {
		t.Errorf("%v is busy, which no host has", elsewhere)
	}
	conn, err := open(loop4)
	if err != nil {
		t.Fatal(err)
	}
	at := localAddr(conn)
	if !busy(at) {
		t.Errorf("%v is not busy, which is open", at)
	}
	if err := shut(conn); err != nil || busy(at) {
		t.Errorf("%v is busy after its end: %v", at, err)
	}
}
