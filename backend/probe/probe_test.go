package probe

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/backend"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// registry holds backends at these addresses, named by them.
func registry(down bool, addrs ...netip.AddrPort) *backend.Registry {
	r := backend.NewRegistry()
	for _, a := range addrs {
		r.Put(backend.Backend{ID: backend.ID(a.String()), Addr: a, Down: down})
	}
	return r
}

// scripted is a prober whose questions are answered by ask, on the bubble's
// clock.
func scripted(r *backend.Registry, log *slog.Logger, ask func(context.Context, netip.AddrPort) (uint16, error)) *Prober {
	p := New(r, log)
	p.ask = ask
	return p
}

// bell is a log handler that tells of each message.
type bell struct {
	slog.Handler
	messages chan string
}

func newBell() bell {
	return bell{slog.NewTextHandler(io.Discard, nil), make(chan string, 100)}
}

func (b bell) Handle(_ context.Context, r slog.Record) error {
	b.messages <- r.Message
	return nil
}

func (b bell) await(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-b.messages:
		if got != want {
			t.Fatalf("logged %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("never logged %q", want)
	}
}

var errSilence = errors.New("silence")

var somewhere = netip.MustParseAddrPort("[::1]:10080")

// One or two lost datagrams take nobody down, three in a row do; the first
// answer brings it back.
func TestMisses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ok, miss = true, false
		script := []struct {
			answer bool
			after  time.Duration // since the question before
			down   bool          // when the next question comes
			log    string
		}{
			{ok, 0, false, ""},
			{miss, interval, false, ""},
			{miss, suspectInterval, false, ""},
			{ok, suspectInterval, false, ""},
			{miss, interval, false, ""},
			{miss, suspectInterval, false, ""},
			{miss, suspectInterval, true, "backend down"},
			{miss, interval, true, ""},
			{miss, 2 * interval, true, ""},
			{miss, 4 * interval, true, ""},
			{miss, 8 * interval, true, ""},
			{miss, maxInterval, true, ""},
			{miss, maxInterval, true, ""},
			{ok, maxInterval, false, "backend alive"},
			{miss, interval, false, ""},
			{ok, suspectInterval, false, ""},
		}
		r := registry(false, somewhere)
		ring := newBell()
		ctx, cancel := context.WithCancel(t.Context())
		step, last := 0, time.Now()
		p := scripted(r, slog.New(ring), func(context.Context, netip.AddrPort) (uint16, error) {
			b, _ := r.Snapshot().Find(backend.ID(somewhere.String()))
			if step > 0 {
				before := script[step-1]
				log := ""
				select {
				case log = <-ring.messages:
				default:
				}
				if b.Down != before.down || log != before.log {
					t.Errorf("after step %d: down %v, logged %q", step-1, b.Down, log)
				}
			}
			if step == len(script) {
				cancel()
				return 0, ctx.Err()
			}
			s := script[step]
			if got := time.Since(last); got != s.after {
				t.Errorf("step %d comes after %v, want %v", step, got, s.after)
			}
			step, last = step+1, time.Now()
			if s.answer == miss {
				return 0, errSilence
			}
			return 3, nil
		})
		p.Run(ctx, nil)
		if step != len(script) {
			t.Errorf("%d steps of %d", step, len(script))
		}
		if got := r.Snapshot().KeyLen; got != 3 {
			t.Errorf("key length %d", got)
		}
	})
}

// A backend starts as down; that it stays so is worth one line, not silence.
func TestNeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := registry(true, somewhere)
		ring := newBell()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		scripted(r, slog.New(ring), func(context.Context, netip.AddrPort) (uint16, error) {
			return 0, errSilence
		}).Run(ctx, nil)
		ring.await(t, "backend down")
		if len(ring.messages) != 0 {
			t.Errorf("%d more lines", len(ring.messages))
		}
	})
}

// ready comes once, when the slowest first question is settled, and an answer
// then stands in the registry.
func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fast, slow := netip.MustParseAddrPort("[::1]:1"), netip.MustParseAddrPort("[::1]:2")
		r := registry(true, fast, slow)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		var calls atomic.Int32
		scripted(r, quiet, func(_ context.Context, to netip.AddrPort) (uint16, error) {
			if to == slow {
				time.Sleep(300 * time.Millisecond) // the bubble's clock
				return 4, nil
			}
			return 0, errSilence
		}).Run(ctx, func() {
			calls.Add(1)
			if got := time.Since(begin); got != 300*time.Millisecond {
				t.Errorf("ready after %v", got)
			}
			if b, _ := r.Snapshot().Find(backend.ID(slow.String())); b.Down || b.KeyLen != 4 {
				t.Errorf("ready before the answer stands: %+v", b)
			}
		})
		if calls.Load() != 1 {
			t.Errorf("ready was called %d times", calls.Load())
		}
	})
}

func TestReadyWithoutBackends(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	New(backend.NewRegistry(), quiet).Run(ctx, func() { calls++; cancel() })
	if calls != 1 {
		t.Errorf("ready was called %d times", calls)
	}
}

// The end of the context is no miss, and neither a question nor a pause holds
// it up.
func TestRunEndsWithItsContext(t *testing.T) {
	for name, after := range map[string]time.Duration{
		"in the first question": interval / 4, "in a pause": interval, "in a later question": 2 * interval,
	} {
		synctest.Test(t, func(t *testing.T) {
			r := registry(false, somewhere)
			ring := newBell()
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			begin := time.Now()
			scripted(r, slog.New(ring), func(ctx context.Context, _ netip.AddrPort) (uint16, error) {
				select {
				case <-ctx.Done():
					return 0, ctx.Err()
				case <-time.After(interval / 2):
					return 0, nil
				}
			}).Run(ctx, nil)
			if got := time.Since(begin); got != after {
				t.Errorf("%s: ended after %v, want %v", name, got, after)
			}
			if b := r.Snapshot().Backends[0]; b.Down || len(ring.messages) != 0 {
				t.Errorf("%s: down %v, %d lines", name, b.Down, len(ring.messages))
			}
		})
	}
}

// All of it with real sockets: alive, down when the listener falls silent,
// alive again with another key length.
func TestRunAgainstAListener(t *testing.T) {
	l := listen(t, "127.0.0.1", answering(2, nil))
	r := registry(true, l.addr)
	ring := newBell()
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	var run sync.WaitGroup
	run.Go(func() { New(r, slog.New(ring)).Run(ctx, func() { close(ready) }) })
	t.Cleanup(func() { cancel(); run.Wait() })
	state := func(down bool, keyLen uint16) {
		t.Helper()
		if b := r.Snapshot().Backends[0]; b.Down != down || b.KeyLen != keyLen || b.Answered.IsZero() {
			t.Fatalf("%+v, want down %v, key length %d", b, down, keyLen)
		}
	}
	ring.await(t, "backend alive")
	<-ready
	state(false, 2)
	l.become(silent)
	ring.await(t, "backend down")
	state(true, 2)
	l.become(answering(4, nil))
	ring.await(t, "backend alive")
	state(false, 4)
}

// The bug: a relay that was stopped again and again while probes were under
// way took every backend down. Misses of a process that was stopped do not
// count, and the question is asked again at once.
func TestMissesWhileStoppedDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := registry(false, somewhere)
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		var last time.Time
		p := scripted(r, quiet, func(context.Context, netip.AddrPort) (uint16, error) {
			if asked++; asked > 1 {
				if got := time.Since(last); got != suspectInterval {
					t.Errorf("question %d comes %v after a miss, want %v", asked, got, suspectInterval)
				}
			}
			switch {
			case asked == 3*maxMisses:
				cancel()
				return 0, ctx.Err()
			case asked%maxMisses == 0:
				time.Sleep(answerTimeout) // a miss that counts, but not three in a row
			default:
				time.Sleep(answerTimeout + stallMargin)
			}
			last = time.Now()
			return 0, errSilence
		})
		p.Run(ctx, nil)
		if b, _ := r.Snapshot().Find(backend.ID(somewhere.String())); b.Down {
			t.Error("down, though most of its misses were this process's own")
		}
	})
}
