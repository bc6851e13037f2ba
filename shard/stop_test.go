package shard

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"srtrelay/backend"
)

// startGroup starts three shards, whose test stops them.
func startGroup(t *testing.T) *Group {
	t.Helper()
	g, err := Open(Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Shards: 3, Batch: 16, UpstreamPorts: 1, MaxSessions: 100, MaxHalfOpen: 50, MaxHalfOpenPerSource: 10,
		IdleTimeout: time.Minute, BackendSilence: time.Minute, Telemetry: true,
		Registry: backend.NewRegistry(), Resolver: &fakeBalancer{}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Start()
	return g
}

// Whoever asks while the relay stops gets an answer, or is told that it stops.
func TestAskingWhileStopping(t *testing.T) {
	defer goleak.VerifyNone(t)
	g := startGroup(t)
	var asking, asked sync.WaitGroup
	asked.Add(8)
	for range 8 {
		asking.Go(func() {
			views, first := make([]View, 8), true
			for {
				var err error
				for at, done := (Cursor{}), false; !done && err == nil; {
					_, at, done, err = g.Walk(t.Context(), at, views, Filter{})
				}
				if err == nil {
					_, err = g.Kick(t.Context(), SessionID{Shard: 2, Index: 1, Gen: 1})
				}
				if first {
					asked.Done()
					first = false
				}
				if err != nil {
					if !errors.Is(err, ErrStopped) {
						t.Errorf("%v", err)
					}
					return
				}
			}
		})
	}
	asked.Wait()
	g.Stop()
	asking.Wait()
}

// Shards that sleep are woken and asked; one that hangs is named.
func TestAwaitTurns(t *testing.T) {
	defer goleak.VerifyNone(t)
	g := startGroup(t)
	for range 3 {
		if err := g.AwaitTurns(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	hanging, released := make(chan struct{}), make(chan struct{})
	g.shards[1].inbox.postAlways(func(*Shard) { close(hanging); <-released })
	<-hanging
	limited, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := g.AwaitTurns(limited); err == nil || !strings.Contains(err.Error(), "shards [1] do not turn") {
		t.Errorf("a shard hangs: %v", err)
	}
	close(released)
	if err := g.AwaitTurns(t.Context()); err != nil {
		t.Errorf("the shard goes on: %v", err)
	}
	g.Stop()
	if err := g.AwaitTurns(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("after the stop: %v", err)
	}
}
