package shard

import (
	"testing"
	"time"

	"srtrelay/handshake"
	"srtrelay/udp"
	"srtrelay/wire"
)

// silent is a rig with one session, whose caller sends and whose backend says
// nothing from now on.
func silent(t *testing.T) (r *rig, says func(b []byte)) {
	r = newRig(t, func(c *Config) { c.BackendSilence = 6 * time.Second })
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	r.reply(upstream, packet(callerID, 20))
	r.send(r.caller, packet(backendID, 20)) // the silence begins
	r.drain(r.caller)
	r.drain(r.backend)
	return r, func(b []byte) { r.reply(upstream, b) }
}

// runs lets time go by in steps of 50 ms, in which the caller sends, and
// returns after which the session had ended; 0 if it has not.
func (r *rig) runs(d time.Duration, every func()) (ended time.Duration) {
	const step = 50 * time.Millisecond
	begun := r.now
	for r.now-begun < d {
		r.send(r.caller, packet(backendID, 20))
		r.pass(step)
		every()
		if r.count(CountTombstones) > 0 {
			return r.now - begun
		}
	}
	return 0
}

// probesSeen takes what the backend received and returns the INDUCTIONs of it.
func (r *rig) probesSeen() (probes []wire.Handshake) {
	for space := make([]byte, 2048); ; {
		b, _ := r.receiveNow(r.backend, space)
		if b == nil {
			return probes
		}
		if h, ok := wire.AsHandshake(b); ok && h.Type() == wire.HandshakeInduction {
			probes = append(probes, append(wire.Handshake(nil), h...))
		}
	}
}

// The bug: a backend that was stopped for 4.6 s, which libsrt's callers bear on
// the direct path, was given up after 4 s.
func TestSilenceEndsASession(t *testing.T) {
	// The test's steps delay each probe.
	const tolerance = 700 * time.Millisecond
	for name, c := range map[string]struct {
		wakes       time.Duration // when the backend speaks again, 0 for never
		answers     bool          // it answers probes
		unreachable bool          // the kernel finds no way to it
		ends        time.Duration // 0 for not
	}{
		"neither the session nor probes are answered": {ends: 4800 * time.Millisecond},
		"probes are answered":                         {answers: true, ends: 6 * time.Second},
		"its host is gone":                            {unreachable: true, ends: 4 * time.Second},
		"stopped for 4.6 s":                           {wakes: 4600 * time.Millisecond},
		"stopped for 8 s":                             {wakes: 8 * time.Second, ends: 4800 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			r, says := silent(t)
			begun, sum := r.now, 0
			ended := r.runs(10*time.Second, func() {
				since := r.now - begun
				probes := r.probesSeen()
				if sum += len(probes); len(probes) > 0 && since < 4*time.Second {
					t.Fatalf("probed after %v", since)
				}
				if c.answers {
					for _, h := range probes {
						says(handshake.AppendInductionReply(nil, h, backendCookie, 0, r.front.Addr()))
					}
				}
				if c.wakes != 0 && since >= c.wakes {
					says(packet(callerID, 20))
				}
				if c.unreachable {
					r.refused(0, udp.Refusal{From: fromConn(r.backend), Kind: udp.KindUnreachable})
				}
			})
			if ended < c.ends || ended > c.ends+tolerance {
				t.Errorf("ended after %v, want %v", ended, c.ends)
			}
			if c.ends == 0 {
				return
			}
			if e := r.lastEvent(EventSessionEnded); e.Cause != CauseBackendSilent {
				t.Errorf("cause %v", e.Cause)
			}
			if len(r.balancer.unreachable) != 1 || r.count(CountBackendsLost) != 0 {
				t.Errorf("in doubt %v, %v; want the backend in doubt, and not lost", r.balancer.unreachable, r.nonzero())
			}
			if c.answers && sum > 5 {
				t.Errorf("%d probes of a backend that answers, want one per 0.8 s", sum)
			}
		})
	}
}

// An unresponsive backend is one no longer when it speaks, and a refusal still has it
// probed from the beginning.
func TestMuteBackend(t *testing.T) {
	r, says := silent(t)
	p := r.peers.byAddr[fromConn(r.backend)]
	// Past the time at which it is unresponsive, not past the session's.
	r.limits.BackendSilence = 7 * time.Second
	if ended := r.runs(5400*time.Millisecond, func() {}); ended != 0 || !p.suspect {
		t.Fatalf("ended after %v, suspect %v", ended, p.suspect)
	}
	p.unresponsive = true
	r.refused(0, udp.Refusal{From: p.addr, Kind: udp.KindRefused})
	if !p.refused || p.probes != 1 {
		t.Errorf("refused %v, %d probes; want a new beginning", p.refused, p.probes)
	}
	says(packet(callerID, 20))
	if p.suspect || p.unresponsive || p.refused || len(r.peers.suspects) != 0 {
		t.Errorf("it spoke, and is %+v", p)
	}
}

// Checks that are bundled come early, but none comes after a session's deadline: that of an
// idle one, and that at which a silent backend is probed.
func TestBundledChecksMissNoDeadline(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	i, ss := uint32(0), (*session)(nil)
	r.sessions.each(func(at uint32, one *session) { i, ss = at, one })
	r.sessions.cold(i).dropReplay()
	for name, c := range map[string]struct {
		unanswered bool
		after      time.Duration
	}{
		"idle":            {false, r.limits.IdleTimeout},
		"silent, a probe": {true, r.probeAfterSilence()},
	} {
		for k := range time.Duration(50) {
			seen := time.Hour + k*3*time.Millisecond
			deadline := seen + c.after
			ss.callerSeen, ss.backendSeen, ss.unansweredSince = seen, seen, 0
			if c.unanswered {
				ss.unansweredSince = seen
			}
			checks := 0
			for r.now = seen; r.now < deadline; checks++ {
				due := r.checkDue(i, ss)
				if due <= r.now || due > deadline {
					t.Fatalf("%s: at %v of %v the next check is at %v", name, r.now-seen, c.after, due-seen)
				}
				r.now = due
			}
			if most := int(c.after/r.probeAfterSilence()) + 3; checks > most {
				t.Errorf("%s: %d checks, want %d at most", name, checks, most)
			}
		}
	}
	r.now = 0
}
