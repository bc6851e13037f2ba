//go:build linux

package e2e

import (
	"sync/atomic"
	"testing"
	"time"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// A cookie that went stale on the way costs a caller one round trip.
func TestStaleCookieIsRenewed(t *testing.T) {
	t.Parallel()
	r := startRelay(t, backendAt(startEcho(t).Addr()))
	var spoilt atomic.Bool
	link := startLink(t, r.addr, func(d srttest.Direction, b []byte) srttest.Action {
		h, ok := wire.AsHandshake(b)
		if ok && d == srttest.Down && h.Type() == wire.HandshakeInduction && spoilt.CompareAndSwap(false, true) {
			h.SetCookie(h.Cookie() + 1)
		}
		return srttest.Pass
	})
	s := mustDial(t, link.Addr(), srttest.CallerOptions{})
	echo(t, s, 1) // by then the counters of the handshake are public
	if seen, st := s.Seen(), r.stats(); seen.InductionReplies != 2 || seen.Responses != 1 || st["reinductions"] != 1 {
		t.Errorf("%d INDUCTION replies, %d responses, %d re-inductions", seen.InductionReplies, seen.Responses, st["reinductions"])
	}
}

// Answers to stale cookies are spaced out, for a caller answers each at once.
func TestReinductionIsRateLimited(t *testing.T) {
	t.Parallel()
	r := startRelay(t, backendAt(startEcho(t).Addr()))
	s := manual(t, r.addr, srttest.CallerOptions{})
	const asked = 200
	begun := time.Now()
	for range asked {
		must(t, s.SendRaw(s.Conclusion(0xBAD)))
	}
	st := counted(r, "all judged", func(st stats) bool { return st["reinductions"]+st["cookie"] == asked })
	allowed := 1 + uint64(time.Since(begun)/(200*time.Millisecond))
	if n := st["reinductions"]; n == 0 || n > allowed {
		t.Errorf("%d answers, %d allowed", n, allowed)
	}
	must(t, s.ResendConclusion())
	await(t, s, "response", func() bool { return s.Seen().Responses == 1 })
}

// pending is a caller whose handshake waits for a backend that is silent.
func pending(t *testing.T, r *relay) *srttest.Session {
	t.Helper()
	before := r.stats()["half_open"]
	s := manual(t, r.addr, srttest.CallerOptions{})
	must(t, s.ResendConclusion())
	r.await("handshake pending", func(st stats) bool { return st["half_open"] == before+1 })
	return s
}

// Each cap holds the next caller back by itself, counts it, and lets it in when
// there is room: it is not refused, and its own retry succeeds.
func TestHandshakeCaps(t *testing.T) {
	t.Parallel()
	for flag, counters := range map[string][2]string{
		"--max-handshakes-per-source=2": {"at_source_cap", "source_cap"},
		"--max-handshakes=2":            {"at_handshake_cap", "handshake_cap"},
	} {
		l := startEcho(t)
		r := startRelay(t, "--shards=1", "--overload=off", flag, backendAt(l.Addr()))
		l.SilentConclusion(true)
		waiting := []*srttest.Session{pending(t, r), pending(t, r)}
		held, err := openPort(t, loopback).Open(r.addr, srttest.CallerOptions{})
		must(t, err)
		connected := make(chan error, 1)
		go func() { connected <- held.Connect(t.Context()) }()
		if st := counted(r, counters[0], func(st stats) bool { return st[counters[0]] > 0 }); st["half_open"] != 2 || st[counters[1]] == 0 || st["rejected"] != 0 {
			t.Errorf("%s: %v", flag, st)
		}
		l.SilentConclusion(false)
		must(t, <-connected) // by a retry
		for _, s := range waiting {
			await(t, s, "response", func() bool { return s.Seen().Responses == 1 })
		}
		echo(t, mustDial(t, r.addr, srttest.CallerOptions{}), 1)
	}
}

// One host cannot take all sessions of a shard.
func TestSessionCapPerSource(t *testing.T) {
	t.Parallel()
	r := startRelay(t, "--shards=1", "--max-sessions-per-source=2", backendAt(startEcho(t).Addr()))
	one := mustDial(t, r.addr, srttest.CallerOptions{})
	mustDial(t, r.addr, srttest.CallerOptions{})
	_, err := tryDial(t, r.addr, srttest.CallerOptions{})
	wantRejection(t, err, 2402)
	r.await("the cap counted", func(st stats) bool { return st["at_source_session_cap"] == 1 })
	must(t, one.SendShutdown())
	r.await("room", func(st stats) bool { return st["sessions"] == 1 })
	echo(t, mustDial(t, r.addr, srttest.CallerOptions{}), 1)
}

func TestSessionCap(t *testing.T) {
	t.Parallel()
	r := startRelay(t, "--shards=1", "--overload=off", "--max-sessions=2", backendAt(startEcho(t).Addr()))
	one := mustDial(t, r.addr, srttest.CallerOptions{})
	two := mustDial(t, r.addr, srttest.CallerOptions{})
	_, err := tryDial(t, r.addr, srttest.CallerOptions{})
	wantRejection(t, err, 2402)
	r.await("the cap counted", func(st stats) bool { return st["at_session_cap"] == 1 })
	echo(t, two, 10)
	must(t, one.SendShutdown())
	r.await("room", func(st stats) bool { return st["sessions"] == 1 })
	echo(t, mustDial(t, r.addr, srttest.CallerOptions{}), 1)
}
