//go:build linux

package e2e

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// A CONCLUSION out of nothing finds neither state nor a crash. The relay may
// offer a new cookie, with which the caller then connects.
func TestCase01ConclusionWithoutInduction(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	s, err := openPort(t, loopback).Open(r.addr, srttest.CallerOptions{Manual: true, StreamID: "live/livestream"})
	must(t, err)
	must(t, s.SendRaw(s.Conclusion(0x12345678)))
	st := counted(r, "an answer", func(st stats) bool { return st["reinductions"] == 1 })
	if st["handshakes"] != 0 || l.Stats().Conclusions != 0 {
		t.Errorf("forwarded: %v", st)
	}
	await(t, s, "new cookie", func() bool { return s.Seen().InductionReplies == 1 })
	must(t, s.ResendConclusion())
	await(t, s, "response", func() bool { return s.Seen().Responses == 1 })
	echo(t, s, 1)
}

// Trailing bytes too few for an extension's header.
func TestCase02TrailingBytes(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	for extra := 1; extra <= 3; extra++ {
		forged := manual(t, r.addr, srttest.CallerOptions{})
		h := forged.Conclusion(0x12345678)
		must(t, forged.SendRaw(append(h[:wire.HandshakeSize:wire.HandshakeSize], make([]byte, extra)...)))
		await(t, forged, "new cookie", func() bool { return forged.Seen().InductionReplies == 2 })

		s := manual(t, r.addr, srttest.CallerOptions{})
		h = s.Conclusion(s.Seen().Cookie)
		must(t, s.SendRaw(append(h[:wire.HandshakeSize:wire.HandshakeSize], make([]byte, extra)...)))
		await(t, s, "rejection", func() bool { return s.Seen().Rejections == 1 })
		wantRejection(t, s.Err(), 1004)
	}
	if n := l.Stats().Conclusions; n != 0 {
		t.Errorf("%d CONCLUSIONs forwarded", n)
	}
	echo(t, mustDial(t, r.addr, srttest.CallerOptions{}), 1)
}

// No cookie but the caller's own opens a handshake: not a guess, not the
// constant of another relay, not a neighbour's.
func TestCase03WrongCookieIsNotForwarded(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	neighbour := manual(t, r.addr, srttest.CallerOptions{})
	own := manual(t, r.addr, srttest.CallerOptions{}).Seen().Cookie
	for i, cookie := range []uint32{0, 1, 0x418D5E4E, own, own + 1, neighbour.Seen().Cookie} {
		s := manual(t, r.addr, srttest.CallerOptions{})
		must(t, s.SendRaw(s.Conclusion(cookie)))
		st := counted(r, "a verdict", func(st stats) bool { return st["reinductions"]+st["cookie"] == uint64(i+1) })
		if st["handshakes"] != 0 {
			t.Errorf("cookie %#x has opened a handshake", cookie)
		}
	}
	if n := l.Stats().Conclusions; n != 0 {
		t.Errorf("%d CONCLUSIONs forwarded", n)
	}
}

// After the connect a retry gets the response once more, a copy made by the network gets
// nothing, and the backend gets neither.
func TestCase06DuplicateConclusionIsReplayedOnce(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	conclusion := make(chan []byte, 1)
	link := startLink(t, r.addr, func(_ srttest.Direction, b []byte) srttest.Action {
		if !isTo(b, 0, wire.HandshakeConclusion) {
			return srttest.Pass
		}
		select {
		case conclusion <- slices.Clone(b):
			return srttest.Duplicate // the first
		default:
			return srttest.Pass
		}
	})
	s := manual(t, link.Addr(), srttest.CallerOptions{})
	must(t, s.ResendConclusion())
	await(t, s, "response", func() bool { return s.Seen().Responses == 1 })
	r.await("the copy dropped", func(st stats) bool { return st["duplicate"] == 1 })
	time.Sleep(256 * time.Millisecond) // a caller's retry interval, part of the input
	must(t, s.ResendConclusion())
	await(t, s, "replay", func() bool { return s.Seen().Responses == 2 })
	echo(t, s, 1) // shows that the caller has its response
	first := <-conclusion
	link.SetHook(nil)
	must(t, s.SendRaw(first))
	st := counted(r, "the late copy dropped", func(st stats) bool { return st["duplicate"] == 2 })
	echo(t, s, 1) // what is sent to a caller keeps its order
	if st["replays"] != 1 || st["handshakes"] != 1 || s.Seen().Responses != 2 {
		t.Errorf("%d replays of %d handshakes, the caller saw %d responses", st["replays"], st["handshakes"], s.Seen().Responses)
	}
	if ls := l.Stats(); ls.Conclusions != 1 || l.Count() != 1 {
		t.Errorf("the backend has %d connections of %d CONCLUSIONs", l.Count(), ls.Conclusions)
	}
}

// However often a caller asks while the backend leg is pending, there is one
// backend leg.
func TestCase07DuplicateConclusionWhilePending(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	l.SilentConclusion(true)
	s := manual(t, r.addr, srttest.CallerOptions{})
	const asked = 10
	for range asked {
		must(t, s.ResendConclusion())
	}
	r.await("all parked", func(st stats) bool { return st["parked"] == asked })
	l.SilentConclusion(false)
	await(t, s, "response", func() bool { return s.Seen().Responses == 1 })
	echo(t, s, 10)
	st := r.stats()
	if st["handshakes"] != 1 || st["established"] != 1 || st["replays"] != 0 || s.Seen().Responses != 1 {
		t.Errorf("not one handshake: %v, %d responses", st, s.Seen().Responses)
	}
	conns := l.Connections()
	if len(conns) != 1 {
		t.Fatalf("%d backend connections, want 1", len(conns))
	}
	sources := map[any]bool{}
	for _, h := range l.Handshakes() {
		if h.Packet.Type() == wire.HandshakeConclusion {
			sources[h.From] = true
		}
	}
	if len(sources) != 1 {
		t.Errorf("backend legs from %v", sources)
	}
}

// Handshakes of an established session are the peers' own affair.
func TestCase09HandshakeInsideSessionIsRelayed(t *testing.T) {
	t.Parallel()
	var got [][]byte
	seen := make(chan []byte, 16)
	l := startBackend(t, srttest.ListenerConfig{Mode: srttest.Echo, Observe: observeHandshakes(seen)})
	r := startRelay(t, backendAt(l.Addr()))
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	echo(t, s, 1) // by then the counters of the handshake are public
	before := r.stats()
	rogue := s.Conclusion(0)
	rogue = rogue[:wire.HandshakeSize]
	rogue.SetVersion(0)
	rogue.SetType(1004)
	rogue.Packet().SetDestID(s.PeerID())
	late := s.Conclusion(0)
	late.Packet().SetDestID(s.PeerID())
	induction := s.Induction()
	induction.Packet().SetDestID(s.PeerID())
	sent := [][]byte{rogue, late, induction}
	for _, b := range sent {
		must(t, s.SendRaw(b))
		select {
		case b := <-seen:
			got = append(got, b)
		case <-patiently(t).Done():
			t.Fatal("the handshake did not reach the backend")
		}
	}
	if !slices.EqualFunc(sent, got, slices.Equal) {
		t.Errorf("relayed\n%x, sent\n%x", got, sent)
	}
	after := r.stats()
	if after["answered"] != before["answered"] || after["handshakes"] != 1 {
		t.Errorf("taken for handshakes of the relay: %v", after)
	}
	echo(t, s, 1)
}

// observeHandshakes passes on a copy of each handshake inside a session.
func observeHandshakes(to chan<- []byte) func(netip.AddrPort, []byte) {
	return func(_ netip.AddrPort, b []byte) {
		if h, ok := wire.AsHandshake(b); ok && h.Packet().DestID() != 0 {
			to <- slices.Clone(b)
		}
	}
}
