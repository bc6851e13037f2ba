package redis

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
	"srtrelay/internal/supervise"
)

// hostile is a log that panics at its first lines about Redis, while the goroutine that logs
// holds a lock.
type hostile struct {
	slog.Handler
	left *atomic.Int32
}

func (h hostile) Handle(ctx context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "shared state") && h.left.Add(-1) >= 0 {
		panic("boom")
	}
	return h.Handler.Handle(ctx, r)
}

// A panic of the background costs a round: no lock stays held, and Redis comes
// into use all the same.
func TestPanicOfTheBackground(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	s := supervise.New(quiet)
	var left atomic.Int32
	left.Store(2)
	reg := backend.NewRegistry()
	reg.Put(static(0))
	b := Open(Options{
		Servers: at(server.addr), Registry: reg, Memory: balancer.NewMemory(reg, time.Now), TTL: 30 * time.Second,
		Log: slog.New(hostile{quiet.Handler(), &left}), Supervisor: s, waits: patience,
	})
	defer b.Close()
	until(t, "Redis to be in use", func() bool { ok, _, _ := b.State(); return ok })
	got, err := b.Pick(t.Context(), backend.Query{Key: "v/a/s", Publish: true})
	if err != nil || got.Lease == 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	if c := s.Counts(); c[0].Task != "redis" || c[0].Panics != 2 {
		t.Errorf("%v", c)
	}
}
