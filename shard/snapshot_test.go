package shard

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/limit"
	"srtrelay/wire"
)

// everyState is a rig with sessions of every state, and everything else that a snapshot
// has, as far as it can be at once.
func everyState(t testing.TB) *rig { return everyStateOf(t, nil, nil) }

// everyStateOf is everyState with another configuration and other sockets.
func everyStateOf(t testing.TB, config func(*Config), sockets func(*rig)) *rig {
	r := newRig(t, func(c *Config) {
		c.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("0.0.0.0:0")}
		c.IdleTimeout = time.Minute
		if config != nil {
			config(c)
		}
	})
	if sockets != nil {
		sockets(r)
	}
	r.front = netip.AddrPortFrom(r.front.Addr(), r.owner.Addrs()[1].Port())
	r.caller = r.dialFront()
	r.pass(time.Second)
	r.stall(time.Second)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	for seq := range uint32(70) {
		if seq%9 != 5 {
			r.send(r.caller, media(backendID, callerISN+seq, 3<<30|1))
		}
	}
	r.send(r.caller, media(backendID, callerISN+5, 3<<30|1|wire.RexmitBit))
	r.reply(upstream, ackOf(wire.TypeACK, callerID, 3, callerISN+60, 20_000, 3_000, 8000, 190, 2000, 250_000))
	r.send(r.caller, ackOf(wire.TypeACKACK, backendID, 3))
	r.reply(upstream, ackOf(wire.TypeACK, callerID, 4, callerISN+64, 20_000, 3_000, 8000, 190, 2000, 250_000))
	r.reply(upstream, packet(callerID, 300))

	r.drain(r.caller)
	r.drain(r.backend)

	ended := r.dialFront()
	r.establish(ended, callerID+1, callerISN, backendID+1)
	r.pass(1100 * time.Millisecond)
	connect := func(id uint32) {
		c := r.dialFront()
		r.send(c, conclusion(id, callerISN+id&0xFF, r.cookie(c, id), 500))
	}
	connect(callerID + 2) // the backend is silent
	r.balancer.hold = true
	for range 4 { // until another one is being chosen
		r.pass(handshake.LegRetryInterval)
	}
	connect(callerID + 3) // no backend is chosen
	r.balancer.hold = false
	connect(callerID + 4)
	r.pass(handshake.LegRetryInterval + wheelTick)
	r.balancer.err = backend.ErrNone
	connect(callerID + 5) // is rejected
	r.orphans.add(r.now, orphanKey{fromConn(r.backend), callerID + 9, 0}, callerISN)
	r.orphans.byKey[orphanKey{fromConn(r.backend), callerID + 9, 0}].accepted = 77
	p := r.peers.byAddr[fromConn(r.backend)]
	p.lostAt, p.clearedAt, p.unreachableAt = r.now-1, r.now-2, r.now-3
	p.proof = proof{at: r.now - 1, silentSince: never}
	r.send(r.caller, media(backendID, callerISN+70, 3<<30|1))
	r.send(r.caller, r.induct(0, 7))
	r.draining = true
	r.balancer.busy = true
	r.send(ended, wire.AppendShutdown(nil, 0, backendID+1))
	r.drain(r.caller)
	r.drain(r.backend)
	return r
}

// picture describes what a shard is to have after a take-over as it was before.
func (s *Shard) picture() []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	clock := s.clock()
	s.sessions.each(func(i uint32, ss *session) {
		one, cold := *ss, *s.sessions.cold(i)
		one.captures, one.peerSlot, one.meter = 0, 0, telemetry.Meter{}
		add("session %d: %+v", i, one)
		add("key %q, stream ID %q, opened %v, ended %v, backend %q", cold.key(), cold.streamID(), cold.opened, cold.ended, cold.backendID())
		add("timer %v, terms %+v", s.wheel.timers.At(i).due, cold.terms)
		add("telemetry %+v, %x", s.meters.Report(&ss.meter), s.meters.AppendSnapshot(nil, &ss.meter, s.now, clock))
		if o := cold.pending; o != nil {
			add("proxy key %q, attempt %+v, tried %q, stalls seen %v", o.proxyKey, o.attempt, o.tried, o.stallsSeen)
			add("leg %s", hex.EncodeToString(o.leg.AppendSnapshot(nil, clock)))
		}
		if cold.replay != nil {
			add("replay %s", hex.EncodeToString(cold.replay.AppendSnapshot(nil, clock)))
		}
		if r, waits := s.pendingInductions[i]; waits {
			add("INDUCTION %x to %v at %v", r.request.Bytes(), r.local, r.at)
		}
		_, front := s.sessions.byFront(ss.front, &ss.caller, ss.backendID)
		_, back := s.sessions.byBack(ss.upstream, &ss.backend, ss.callerID)
		_, caller := s.sessions.byCaller(ss.front, &ss.caller, ss.callerID)
		add("found: %v, %v, %v", front == ss, back == ss, caller == ss)
	})
	for _, p := range s.peers.byAddr {
		one := *p
		// Lists and slots are made anew, and suspicions begin anew.
		one.firstSession, one.slot, one.probes, one.nextProbe, one.probeID, one.nonce = 0, 0, 0, 0, 0, 0
		one.bytes, one.ratedBytes = one.bytes-one.ratedBytes, 0
		add("peer %+v", one)
	}
	for key, one := range s.orphans.byKey {
		add("orphan %+v: %+v", key, *one)
	}
	s.usage.sources.Slice(0, s.usage.sources.Places(), func(p *limit.Prefix, v *limit.Source, held bool) bool {
		if held {
			add("source %v: %d handshakes, %d sessions", p.Netip(), v.Handshakes, v.Sessions)
		}
		return true
	})
	s.usage.streams.Slice(0, s.usage.streams.Places(), func(key *string, v *limit.Stream, _ bool) bool {
		add("stream %s: %d players, %d publishers, blocked until %v", *key, v.Players, v.Publishers, v.BlockedUntil)
		return true
	})
	if r := s.peers.rates.Load(); r != nil {
		add("rates %v", *r)
	}
	add("%d sessions, generation %d, %d tombstones, %d keys", s.sessions.live, s.sessions.gen, s.sessions.tombstones, s.sessions.table.used)
	add("half-open %d, outcomes %v, now %v", s.admission.halfOpen, s.outcomes.unreported, s.now)
	stalls := s.stalls
	stalls.lastTurn, stalls.due = 0, 0
	add("stalls %+v, rated %v", stalls, s.peers.ratesAt)
	for k, n := range s.counters.local {
		if !Counter(k).IsGauge() {
			add("%v: %d", Counter(k), n)
		}
	}
	slices.Sort(all)
	return all
}

func TestRestoreEveryState(t *testing.T) {
	for _, reserved := range []int{0, 3, 1000} {
		t.Run(fmt.Sprint(reserved, " reserved"), func(t *testing.T) { restoreEveryState(t, reserved) })
	}
}

func restoreEveryState(t *testing.T, reserved int) {
	r := everyState(t)
	states := map[State]int{}
	r.sessions.each(func(_ uint32, ss *session) { states[ss.state]++ })
	want := map[State]int{StateResolving: 1, StateConnecting: 2, StateEstablished: 1, StateRejected: 1, StateClosing: 1}
	if !maps.Equal(states, want) || len(r.pendingInductions) != 1 || len(r.outcomes.unreported) != 1 || r.stalls.count != 1 {
		t.Fatalf("states %v, want %v; %d INDUCTIONs, %d outcomes, %d stalls", states, want,
			len(r.pendingInductions), len(r.outcomes.unreported), r.stalls.count)
	}
	views := r.views(Filter{})
	snapshot := r.appendSnapshot([]byte("before"))[len("before"):]
	before := r.picture()
	if again := r.picture(); !slices.Equal(before, again) {
		t.Fatal("a snapshot changes the shard")
	}
	next := r.successor()
	next.reserve(reserved)
	if err := next.restore(snapshot); err != nil {
		t.Fatal(err)
	}
	if n := max(uint64(reserved), 6); next.sessions.places() < n || len(next.sessions.free) != int(next.sessions.places())-6 {
		t.Errorf("%d places, %d free", next.sessions.places(), len(next.sessions.free))
	}
	for _, line := range next.picture() {
		k := slices.Index(before, line)
		if k < 0 {
			t.Errorf("after, and not before: %s", line)
			continue
		}
		before = slices.Delete(before, k, k+1)
	}
	for _, line := range before {
		t.Errorf("before, and not after: %s", line)
	}
	old := r.Shard
	r.Shard, r.owner.shards[0] = next, next
	t.Cleanup(func() { _, _ = old.poller.Close(), old.batch.Close() })
	for k, v := range r.views(Filter{}) {
		if was := views[k]; fmt.Sprintf("%+v", v) != fmt.Sprintf("%+v", was) {
			t.Errorf("view %+v\nwas  %+v", v, was)
		}
	}
	if again := next.appendSnapshot(nil); len(again) != len(snapshot) {
		t.Errorf("the next snapshot has %d bytes, this one %d", len(again), len(snapshot))
	}
	r.goesOn()
}

// goesOn checks that the sessions of everyState go on.
func (r *rig) goesOn() {
	r.t.Helper()
	asked := len(r.balancer.asked)
	r.settle()
	if n := len(r.balancer.asked); n != asked {
		r.t.Errorf("asked %d times while the resolver is busy", n-asked)
	}
	r.balancer.busy, r.draining = false, false
	r.stalls.due = never
	r.settle()
	if n := len(r.balancer.asked); n != asked+2 {
		r.t.Errorf("asked for %d backends again, want 2", n-asked)
	}
	r.send(r.caller, packet(backendID, 1000))
	for {
		b, upstream := r.receive(r.backend)
		if b == nil {
			r.t.Fatalf("nothing arrives at the backend: %v", r.nonzero())
		}
		if len(b) == 1000 {
			r.reply(upstream, packet(callerID, 900))
			break
		}
	}
	for {
		b, _ := r.receive(r.caller)
		if b == nil {
			r.t.Fatalf("nothing arrives at the caller: %v", r.nonzero())
		}
		if len(b) == 900 {
			break
		}
	}
}
