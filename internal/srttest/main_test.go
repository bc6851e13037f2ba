package srttest

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	loop4 = netip.MustParseAddrPort("127.0.0.1:0")
	loop6 = netip.MustParseAddrPort("[::1]:0")
)

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newListener(t *testing.T, cfg ListenerConfig) *Listener {
	t.Helper()
	if !cfg.Local.IsValid() {
		cfg.Local = loop4
	}
	l := must[*Listener](t)(NewListener(cfg))
	t.Cleanup(func() { l.Close() })
	return l
}

func newPort(t *testing.T, local netip.AddrPort) *CallerPort {
	t.Helper()
	p := must[*CallerPort](t)(NewCallerPort(local))
	t.Cleanup(func() { p.Close() })
	return p
}

func newLink(t *testing.T, cfg LinkConfig) *Link {
	t.Helper()
	if !cfg.Listen.IsValid() {
		cfg.Listen = loop4
	}
	l := must[*Link](t)(NewLink(cfg))
	t.Cleanup(func() { l.Close() })
	return l
}

// patience is for handshakes that must succeed on a machine that has other
// work: the timeout is not what their tests are about.
const patience = 7 * time.Second

func dial(t *testing.T, p *CallerPort, to netip.AddrPort, o CallerOptions) *Session {
	t.Helper()
	o.Timeout = patience
	return must[*Session](t)(p.Dial(deadline(t), to, o))
}

// await waits for cond at whatever rings for it.
func await(t *testing.T, at interface {
	Await(context.Context, func() bool) error
}, what string, cond func() bool,
) {
	t.Helper()
	if err := at.Await(deadline(t), cond); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func openFiles(t *testing.T) int {
	return len(must[[]os.DirEntry](t)(os.ReadDir("/proc/self/fd")))
}

// Not parallel: it counts the descriptors of the whole process.
func TestCloseLeavesNothing(t *testing.T) {
	once := func() {
		l := must[*Listener](t)(NewListener(ListenerConfig{Local: loop4, Mode: Echo}))
		k := must[*Link](t)(NewLink(LinkConfig{Listen: loop4, Target: l.Addr(), Up: Impairment{Delay: time.Millisecond}}))
		p := must[*CallerPort](t)(NewCallerPort(loop4))
		for range 5 {
			s := must[*Session](t)(p.Dial(deadline(t), k.Addr(), CallerOptions{StreamID: "a"}))
			s.SendData([]byte("x"))
		}
		p.Close()
		k.Close()
		l.Close()
		l.Close()
	}
	once() // the poller's own descriptors stay
	before := openFiles(t)
	for range 3 {
		once()
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	goleak.VerifyNone(t)
}
