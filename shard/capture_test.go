package shard

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/observe/capture"
	"srtrelay/wire"
)

// Captures begin, stop and end on running loops, and leave nothing behind.
func TestGroupCaptures(t *testing.T) {
	defer goleak.VerifyNone(t)
	g := startGroup(t)
	streams := capture.Filter{Streams: []string{"live/x"}}
	for _, id := range []capture.Session{{Shard: 3}, {Shard: -1}, {Shard: 1, Index: 7, Gen: 9}} {
		if _, _, err := g.Capture(t.Context(), capture.Filter{Sessions: []capture.Session{id}}, capture.Keep{}); !errors.Is(err, ErrNoSession) {
			t.Errorf("session %+v: %v", id, err)
		}
	}
	var stops []func()
	for range maxCaptures {
		c, stop, err := g.Capture(t.Context(), streams, capture.Keep{})
		if err != nil {
			t.Fatal(err)
		}
		if age := time.Since(c.Origin); age < 0 || age > time.Hour {
			t.Errorf("the shards' time began %v ago", age)
		}
		stops = append(stops, stop)
	}
	if _, _, err := g.Capture(t.Context(), streams, capture.Keep{}); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	stops[2]()
	stops[2]()
	last, stop, err := g.Capture(t.Context(), streams, capture.Keep{})
	if err != nil {
		t.Errorf("after another was stopped: %v", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := g.Capture(over, streams, capture.Keep{}); err == nil {
		t.Error("began though nobody waits for it")
	}
	if last.Ended() {
		t.Error("ended while the shards run")
	}
	g.Stop()
	if !last.Ended() {
		t.Error("goes on though the shards have ended")
	}
	for _, s := range append(stops, stop) {
		s()
	}
	if _, _, err := g.Capture(t.Context(), streams, capture.Keep{}); !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
}

// Sessions come and go on running loops while captures of them do.
func TestGroupCapturesUnderLoad(t *testing.T) {
	key := streamKey(t)
	defer goleak.VerifyNone(t)
	g, err := Open(Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Shards: 2, Batch: 16, UpstreamPorts: 1, MaxSessions: 1e6, MaxHalfOpen: 1e6, MaxHalfOpenPerSource: 1e6,
		IdleTimeout: time.Minute, BackendSilence: time.Minute,
		Registry: backend.NewRegistry(), Resolver: refusing{}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Start()
	defer g.Stop()
	callers, stopCallers := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); refuseCallers(callers, t, g.Addrs()[0]) }()
	var rec capture.Record
	for range 20 {
		c, stop, err := g.Capture(t.Context(), capture.Filter{Streams: []string{key}}, capture.Keep{})
		if err != nil {
			t.Fatal(err)
		}
		patience, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		for !c.Next(&rec) {
			if patience.Err() != nil {
				t.Fatal("nothing is recorded")
			}
			c.Wait(patience)
		}
		cancel()
		stop()
		if !c.Ended() {
			t.Fatal("stopped, and not ended")
		}
	}
	stopCallers()
	<-done
}

// refusing knows no stream.
type refusing struct{}

func (refusing) Resolve(_ backend.Query, done func(backend.Target, error) bool) bool {
	done(backend.Target{}, backend.ErrNoStream)
	return true
}
func (refusing) Report(backend.Outcome) bool      { return true }
func (refusing) Unreachable(_ backend.ID, _ bool) {}

// refuseCallers has callers refused, one after the other.
func refuseCallers(ctx context.Context, t *testing.T, front netip.AddrPort) {
	in := make([]byte, 2048)
	for id := uint32(1); ctx.Err() == nil; id++ {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(front))
		if err != nil {
			t.Error(err)
			return
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = c.Write(handshake.AppendInduction(nil, id, 1, front.Addr()))
		n, err := c.Read(in)
		if h, ok := wire.AsHandshake(in[:n]); ok {
			_, _ = c.Write(conclusion(id, 1, h.Cookie(), 500))
			_, err = c.Read(in)
		}
		_ = c.Close()
		if err != nil {
			t.Error(err)
			return
		}
	}
}
