package shard

import (
	"net"
	"slices"
	"testing"
	"time"

	"srtrelay/wire"
)

// The bug: every backend that died had all sessions walked, and all of its own
// ended in one turn: 3.9 s for a host of 300 backends with 100,000 sessions.
func TestHostOfBackendsDies(t *testing.T) {
	sessions, backends := 100_000, 300
	if testing.Short() {
		sessions = 10_000
	}
	r := newRig(t, func(c *Config) { c.MaxSessions, c.Events, c.Telemetry = sessions+1, nil, false })
	fillSessions(r, sessions, backends)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	for _, p := range r.peers.byAddr {
		if p.addr != fromConn(r.backend) {
			r.backendLost(p, proof{at: r.now, silentSince: never})
		}
	}
	if r.sessions.tombstones != 0 {
		t.Fatalf("%d sessions ended outside of a turn", r.sessions.tombstones)
	}
	ended := func() int { return int(r.counters.local[CountShutdownsMade]) / 2 }
	turns := 0
	for ; ended() < sessions; turns++ {
		if due, ok := r.nextDue(); !ok || due > r.now {
			t.Fatal("the loop would sleep before all sessions are told")
		}
		before := ended()
		mustTo(t, r.backend, packet(callerID, 60), upstream)
		r.eachEndpoint(func(l *endpoint, _ int) { l.readable = true })
		r.turn()
		if n := ended() - before; n == 0 || n > endsPerTurn {
			t.Fatalf("turn %d ended %d sessions, want 1 to %d", turns, n, endsPerTurn)
		}
		if b, _ := r.receive(r.caller); len(b) != 60 {
			t.Fatalf("turn %d: a session whose backend lives received %d bytes, want 60", turns, len(b))
		}
	}
	if want := (sessions + endsPerTurn - 1) / endsPerTurn; turns != want {
		t.Errorf("%d turns, want %d", turns, want)
	}
	if ended() != sessions {
		t.Errorf("%d sessions told, want %d", ended(), sessions)
	}
	if n := r.count(CountBackendsLost); n != uint64(backends) {
		t.Errorf("%d backends lost, want %d", n, backends)
	}
	if len(r.peers.byAddr) != 1 || len(r.peers.ending) != 0 {
		t.Errorf("left: %d peers, want the living one; %d being ended", len(r.peers.byAddr), len(r.peers.ending))
	}
	r.send(r.caller, wire.AppendShutdown(nil, 0, backendID))
	r.pass(tombstoneTTL + wheelTick)
	for turns = 0; r.sessions.tombstones > 0; turns++ {
		before := r.sessions.tombstones
		if r.turn(); before-r.sessions.tombstones > timersPerTurn || turns > sessions {
			t.Fatalf("turn %d freed %d sessions, want %d at most", turns, before-r.sessions.tombstones, timersPerTurn)
		}
	}
	r.wantEmpty()
}

// Sessions may leave a backend, and others come to it, while its sessions are
// being ended.
func TestSessionsComeAndGoWhileTheirBackendIsLost(t *testing.T) {
	const sessions = 2*endsPerTurn + 100
	r := newRig(t, func(c *Config) { c.MaxSessions, c.Events = 2*sessions, nil })
	fillSessions(r, sessions, 1)
	var p *peer
	for _, p = range r.peers.byAddr {
	}
	r.backendLost(p, proof{at: r.now, silentSince: never})
	r.turn()
	// The next one to be ended, and its neighbour, end by themselves.
	next := p.nextToEnd - 1
	after := r.sessions.cold(next).next - 1
	r.endSession(next, r.sessions.at(next), CauseKicked)
	r.endSession(after, r.sessions.at(after), CauseKicked)
	// One more comes, whose backend is the process after.
	r.now += time.Second / 10
	i, ss := r.sessions.alloc()
	ss.state, ss.backend, ss.establishedAt = StateEstablished, p.addr, r.now
	r.restoreAccount(i, ss)
	r.peers.join(&r.sessions, i, ss, p.id)
	for len(r.peers.ending) > 0 {
		r.turn()
	}
	if r.sessions.tombstones != sessions || ss.state != StateEstablished || p.sessions != 1 || p.firstSession != i+1 {
		t.Errorf("%d ended, the latest is %v, its peer has %d sessions, the first %d; want %d, established, 1, %d",
			r.sessions.tombstones, ss.state, p.sessions, p.firstSession, sessions, i+1)
	}
	r.endSession(i, ss, CauseKicked)
	if len(r.peers.byAddr) != 0 {
		t.Errorf("%d peers left", len(r.peers.byAddr))
	}
}

// Another shard's proof does not concern those whom it cannot mean.
func TestProofOfAnotherShard(t *testing.T) {
	for name, c := range map[string]struct {
		proof func(now time.Duration) proof
		told  bool
	}{
		"quoted": {func(now time.Duration) proof { return proof{now, never} }, true},
		"older than the session": {func(now time.Duration) proof {
			return proof{now - time.Second, never}
		}, false},
		"silence, and silent here too": {func(now time.Duration) proof { return proof{now, now} }, true},
		"silence, but it spoke here": {func(now time.Duration) proof {
			return proof{now, now - 200*time.Millisecond}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			upstream := r.establish(r.caller, callerID, callerISN, backendID)
			r.pass(100 * time.Millisecond)
			r.reply(upstream, packet(callerID, 20))
			r.receive(r.caller)
			r.pass(100 * time.Millisecond)
			r.backendLostElsewhere(fromConn(r.backend), c.proof(r.now))
			r.settle()
			if c.told {
				r.expectShutdown(r.caller, callerID)
			} else {
				r.expectNothing(r.caller)
			}
			// The shard with the proof has reported it.
			if len(r.balancer.unreachable) != 0 || r.count(CountBackendsLost) != 0 {
				t.Errorf("reported again: %v, %v", r.balancer.unreachable, r.nonzero())
			}
		})
	}
}

// The bug: a proven death stayed in its shard. Callers on the others heard of
// it when their own datagrams met the refusal and were confirmed: after up to
// a second, if they sent seldom.
func TestProofReachesEveryShard(t *testing.T) {
	const shards = 4
	l := startLoops(t, shards)
	t.Cleanup(l.Stop)
	_ = l.backend.Close()
	// One caller sends; the others say nothing at all, so that nothing of
	// theirs can meet the closed port.
	quiet := append([]*net.UDPConn(nil), l.callers...)
	sender := quiet[0]
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	told := make(chan struct{})
	go func() {
		defer close(told)
		for k, c := range quiet {
			awaitShutdown(t, c, callerID+uint32(k))
		}
	}()
	for sending := true; sending; {
		_, _ = sender.Write(packet(backendID, 100))
		select {
		case <-told:
			sending = false
		case <-tick.C:
		}
	}
	l.Stop() // a loop publishes its counters after it has sent
	var found uint64
	for _, st := range l.Stats() {
		found += st.Values[CountBackendsLost]
	}
	if found != 1 {
		t.Errorf("%d shards report the lost backend, want one", found)
	}
}

// Proofs find room where answers to handshakes have none left.
func TestProofFindsRoomInAFullInbox(t *testing.T) {
	b := inbox{limit: 1, wake: func() {}, terminated: make(chan struct{})}
	nop := func(*Shard) {}
	b.post(nop)
	if b.post(nop) {
		t.Fatal("the inbox is not full")
	}
	taken := 0
	for b.postReserved(nop) {
		taken++
	}
	if taken != lossReserve {
		t.Errorf("room for %d proofs, want %d", taken, lossReserve)
	}
}

// What it costs when the backends of a host die at once, in all and by turn.
func BenchmarkLost(b *testing.B) {
	const sessions, backends = 100_000, 300
	var turns []time.Duration
	for b.Loop() {
		b.StopTimer()
		r := newRig(b, func(c *Config) { c.MaxSessions, c.Events, c.Telemetry = sessions, nil, false })
		fillSessions(r, sessions, backends)
		b.StartTimer()
		for _, p := range r.peers.byAddr {
			r.backendLost(p, proof{at: r.now, silentSince: never})
		}
		for len(r.peers.ending) > 0 {
			start := time.Now()
			r.turn()
			turns = append(turns, time.Since(start))
		}
		b.StopTimer()
		r.owner.Close()
		b.StartTimer()
	}
	slices.Sort(turns)
	b.ReportMetric(float64(turns[len(turns)/2].Microseconds()), "µs/turn")
}
