package freeaddr

import (
	"net"
	"testing"
)

func TestNew(t *testing.T) {
	first, second := New(), New()
	if first == second || !first.Addr().IsLoopback() {
		t.Errorf("%v and %v", first, second)
	}
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(first))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(first))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range ports - 2 {
		if got := New(); got == first || got == second || got.Port() < firstPort || got.Port() >= firstPort+ports {
			t.Fatalf("%v after %v and %v", got, first, second)
		}
	}
	if again := New(); again != first {
		t.Errorf("%v, want %v again", again, first)
	}
}
