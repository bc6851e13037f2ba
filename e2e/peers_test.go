//go:build linux

package e2e

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"srtrelay/internal/freeaddr"
	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// startBackend opens a fake backend for the time of the test, unless cfg says where at an
// address that no other test's socket gets when it is killed.
func startBackend(t *testing.T, cfg srttest.ListenerConfig) *srttest.Listener {
	t.Helper()
	if !cfg.Local.IsValid() {
		cfg.Local = freeaddr.New()
	}
	l, err := srttest.NewListener(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// startEcho opens a fake backend that sends every payload back.
func startEcho(t *testing.T) *srttest.Listener {
	t.Helper()
	return startBackend(t, srttest.ListenerConfig{Mode: srttest.Echo})
}

// backendAt is the flag that names a backend.
func backendAt(a netip.AddrPort) string { return "--backend=srt://" + a.String() }

// startLink opens a path to target for the time of the test.
func startLink(t *testing.T, target netip.AddrPort, hook srttest.Hook) *srttest.Link {
	t.Helper()
	l, err := srttest.NewLink(srttest.LinkConfig{Listen: loopback, Target: target, Hook: hook})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// openPort opens a caller's port for the time of the test.
func openPort(t *testing.T, local netip.AddrPort) *srttest.CallerPort {
	t.Helper()
	p, err := srttest.NewCallerPort(local)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// tryDial connects from a new port.
func tryDial(t *testing.T, to netip.AddrPort, o srttest.CallerOptions) (*srttest.Session, error) {
	t.Helper()
	local := loopback
	if to.Addr().Is6() {
		local = netip.AddrPortFrom(netip.IPv6Loopback(), 0)
	}
	return openPort(t, local).Dial(patiently(t), to, o)
}

// mustDial connects from a new port. Where the caller's own timeout is not the
// matter, a busy machine may take longer.
func mustDial(t *testing.T, to netip.AddrPort, o srttest.CallerOptions) *srttest.Session {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = patience
	}
	s, err := tryDial(t, to, o)
	if err != nil {
		t.Fatalf("dial %v: %v; seen %+v", to, err, s.Seen())
	}
	return s
}

// manual returns a caller on its own port that sends only what the test has it send, and that
// already has a cookie of to.
func manual(t *testing.T, to netip.AddrPort, o srttest.CallerOptions) *srttest.Session {
	t.Helper()
	o.Manual = true
	s, err := openPort(t, loopback).Open(to, o)
	if err != nil {
		t.Fatal(err)
	}
	must(t, s.ResendInduction())
	await(t, s, "a cookie", func() bool { return s.Seen().InductionReplies == 1 })
	return s
}

// patiently is a context for one wait.
func patiently(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// await waits for an event at a peer.
func await(t *testing.T, at interface {
	Await(context.Context, func() bool) error
}, what string, cond func() bool,
) {
	t.Helper()
	if err := at.Await(patiently(t), cond); err != nil {
		t.Fatalf("no %s: %v", what, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantRejection checks a Dial's error.
func wantRejection(t *testing.T, err error, code uint32) {
	t.Helper()
	if rejected, ok := errors.AsType[*srttest.Rejection](err); !ok || rejected.Code != code {
		t.Errorf("dial: %v, want wire code %d", err, code)
	}
}

// connectionOf finds a session's connection among those of some backends, and
// which of them it is.
func connectionOf(t *testing.T, s *srttest.Session, backends ...*srttest.Listener) (*srttest.Connection, int) {
	t.Helper()
	for i, l := range backends {
		for _, c := range l.Connections() {
			if c.Conclusion.SocketID() == s.ID() && c.ISN == s.ISN() {
				return c, i
			}
		}
	}
	t.Fatalf("no backend has a connection of socket ID %d", s.ID())
	return nil, -1
}

// echo sends n packets to a backend that echoes, and waits for all to return.
func echo(t *testing.T, s *srttest.Session, n int) {
	t.Helper()
	want := s.Counters().Received + uint64(n)
	for range n {
		must(t, s.SendData(make([]byte, 1316)))
	}
	await(t, s, "echo of all data", func() bool { return s.Counters().Received >= want })
	if c := s.Counters(); c.Received != want || c.Lost+c.Duplicated+c.Reordered+c.Stale != 0 {
		t.Errorf("echo of %d packets: %+v", n, c)
	}
}

// isTo reports whether b is a handshake of this type with this destination ID.
func isTo(b []byte, id uint32, typ wire.HandshakeType) bool {
	h, ok := wire.AsHandshake(b)
	return ok && h.Packet().DestID() == id && h.Type() == typ
}

// counted waits for the counters and reads them once more: those of one turn
// are published one by one.
func counted(r *relay, what string, cond func(stats) bool) stats {
	r.t.Helper()
	r.await(what, cond)
	return r.stats()
}
