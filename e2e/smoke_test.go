//go:build linux

package e2e

import (
	"context"
	"net/netip"
	"testing"

	"srtrelay/internal/srttest"
)

// loopback is an IPv4 loopback address with a port of the kernel's choice.
var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// A caller connects through the relay, and data flows both ways.
func TestSmoke(t *testing.T) {
	t.Parallel()
	l, err := srttest.NewListener(srttest.ListenerConfig{Local: loopback, Mode: srttest.Echo})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := startRelay(t, "--backend", "srt://"+l.Addr().String())
	port, err := srttest.NewCallerPort(loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := port.Dial(ctx, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/smoke,m=publish"})
	if err != nil {
		t.Fatalf("%v\n%s", err, r.tail())
	}
	for range 100 {
		if err := s.SendData(make([]byte, 1316)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Await(ctx, func() bool { return s.Counters().Received == 100 }); err != nil {
		t.Fatalf("%v: %+v", err, s.Counters())
	}
	if err := s.SendShutdown(); err != nil {
		t.Fatal(err)
	}
	r.awaitEmpty()
}
