//go:build linux

package e2e

import (
	"testing"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// An INDUCTION that comes late, when its caller is connected, must stay
// unanswered: two connected peers would quarrel about the reply for ever.
func TestCase08LateInductionStartsNoLoop(t *testing.T) {
	t.Parallel()
	r := startRelay(t, backendAt(startEcho(t).Addr()))
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	echo(t, s, 1)
	echoed := func(n uint64) func(stats) bool {
		return func(st stats) bool { return st["forwarded_to_backend"] == n && st["forwarded_to_caller"] == n }
	}
	before := counted(r, "echo counted", echoed(1))
	must(t, s.ResendInduction())
	r.await("the late INDUCTION dropped", func(st stats) bool { return st["duplicate"] == 1 })
	const traffic = 100
	echo(t, s, traffic)
	after := counted(r, "traffic counted", echoed(1+traffic))
	// Nothing but the one INDUCTION and the traffic may have passed meanwhile.
	for name, n := range map[string]uint64{
		"received_front": 1 + traffic, "received_back": traffic, "sent": 2 * traffic,
		"inductions": 0, "answered": 0,
	} {
		if got := after[name] - before[name]; got != n {
			t.Errorf("%s grew by %d, want %d", name, got, n)
		}
	}
	if seen := s.Seen(); seen.InductionReplies != 1 || s.Counters().Handshakes != 0 {
		t.Errorf("%d INDUCTION replies, %d handshakes in the session", seen.InductionReplies, s.Counters().Handshakes)
	}
}

// A cookie in an INDUCTION means nothing, and neither does what hangs behind
// it: the reply is the same, and exactly 64 bytes.
func TestCase10InductionWithCookie(t *testing.T) {
	t.Parallel()
	r := startRelay(t, backendAt(startEcho(t).Addr()))
	for _, extra := range []int{0, 100} {
		s, err := openPort(t, loopback).Open(r.addr, srttest.CallerOptions{})
		must(t, err)
		h := s.Induction()
		h.SetCookie(0xDEADBEEF)
		must(t, s.SendRaw(append(h, make([]byte, extra)...)))
		// The caller goes on by itself, with the cookie that it got.
		await(t, s, "response", func() bool { return s.Seen().Responses == 1 })
		seen := s.Seen()
		if len(seen.InductionReply) != wire.HandshakeSize || seen.InductionReplies != 1 {
			t.Errorf("%d replies, the last of %d bytes", seen.InductionReplies, len(seen.InductionReply))
		}
		if seen.Cookie == 0 || seen.Cookie == 0xDEADBEEF {
			t.Errorf("cookie %#x", seen.Cookie)
		}
		echo(t, s, 1)
	}
}

// A caller with a passphrase but no key length must get the backend's, not AES-128; a caller
// with one keeps it.
func TestCase27KeyLengthIsAdvertised(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	l.AdvertiseKeyLen(32)
	r := startRelay(t, backendAt(l.Addr()))
	for _, c := range []struct{ own, want int }{{srttest.KeyLenAuto, 32}, {16, 16}, {0, 0}} {
		s := mustDial(t, r.addr, srttest.CallerOptions{KeyLen: c.own})
		if got := s.Seen().Encryption; got != 32/8 {
			t.Errorf("key length %d advertised, want 4", got)
		}
		if conn, _ := connectionOf(t, s, l); conn.KeyLen != c.want {
			t.Errorf("caller with key length %d: %d bytes at the backend, want %d", c.own, conn.KeyLen, c.want)
		}
	}
}

// The handshakes of a rendezvous peer are dropped.
func TestCase34RendezvousIsDropped(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	s := manual(t, r.addr, srttest.CallerOptions{StreamID: "live/livestream"})
	before := counted(r, "INDUCTION counted", func(st stats) bool { return st["inductions"] == 1 })
	types := []wire.HandshakeType{wire.HandshakeWaveAHand, wire.HandshakeAgreement, wire.HandshakeDone}
	cookies := []uint32{0, 0x418D5E4E, s.Seen().Cookie}
	var sent uint64
	for _, typ := range types {
		for _, cookie := range cookies {
			h := s.Conclusion(cookie)
			h.SetType(typ)
			must(t, s.SendRaw(h[:wire.HandshakeSize]))
			must(t, s.SendRaw(h)) // with extensions behind it
			sent += 2
		}
	}
	after := counted(r, "all dropped", func(st stats) bool { return st["rendezvous"] == sent })
	if after["sent"] != before["sent"] || after["handshakes"] != 0 || l.Stats().Conclusions != 0 {
		t.Errorf("answered or forwarded: %v", after)
	}
	must(t, s.ResendConclusion())
	await(t, s, "response", func() bool { return s.Seen().Responses == 1 })
}
