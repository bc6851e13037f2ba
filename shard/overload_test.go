package shard

import (
	"net"
	"testing"
	"time"

	"srtrelay/handshake"
	"srtrelay/observe/telemetry"
	"srtrelay/relay/overload"
	"srtrelay/wire"
)

// tries sends a new CONCLUSION with a stream ID.
func (r *rig) tries(c *net.UDPConn, id uint32, streamID string) {
	r.t.Helper()
	b := conclusion(id, callerISN, r.cookie(c, id), 1)
	sid := len(wire.AppendString(nil, wire.BlockSID, "#!::r=live/x,m=publish"))
	r.send(c, wire.AppendString(b[:len(b)-sid:len(b)-sid], wire.BlockSID, streamID))
}

// The steps refuse new callers by their role, with 2402, and nothing else changes for
// sessions that run.
func TestStepsRefuseNewCallers(t *testing.T) {
	const publisher, player = "#!::r=live/x,m=publish", "#!::r=live/x,m=request"
	for _, c := range []struct {
		step            overload.Step
		player, publish bool // taken
	}{
		{overload.StepNone, true, true},
		{overload.StepTelemetry, true, true},
		{overload.StepCaptures, true, true},
		{overload.StepPlayers, false, true},
		{overload.StepPublishers, false, false},
	} {
		t.Run(c.step.String(), func(t *testing.T) {
			r := newRig(t)
			upstream := r.establish(r.caller, callerID, callerISN, backendID)
			r.owner.SetStep(c.step)
			refused := uint64(0)
			for id, one := range map[uint32]struct {
				streamID string
				taken    bool
				counter  Counter
			}{
				callerID + 1: {player, c.player, CountOverloadPlayers},
				callerID + 2: {publisher, c.publish, CountOverloadPublishers},
			} {
				other := r.dialFront()
				r.tries(other, id, one.streamID)
				if one.taken {
					h, _ := r.answerInduction()
					r.reply(upstream, accept(h, backendID+id))
					r.expect(other, wire.HandshakeConclusion)
					continue
				}
				refused++
				r.expect(other, wire.HandshakeType(handshake.CodeOverload))
				if e := r.lastEvent(EventCallerRejected); e.Code != handshake.CodeOverload || e.Key != "__defaultVhost__/live/x" {
					t.Errorf("event %+v", e)
				}
				if r.count(one.counter) != 1 {
					t.Errorf("counters %v", r.nonzero())
				}
			}
			if got := r.count(CountRejected); got != refused {
				t.Errorf("%d rejected, want %d; counters %v", got, refused, r.nonzero())
			}
			r.send(r.caller, media(backendID, callerISN, 3<<30|1))
			if b, _ := r.receive(r.backend); len(b) != 1332 {
				t.Errorf("received %x", b)
			}
			r.reply(upstream, media(callerID, callerISN, 3<<30|1))
			if b, _ := r.receive(r.caller); len(b) != 1332 {
				t.Errorf("received %x", b)
			}
			// A connection that repeats its CONCLUSION is no new one.
			r.send(r.caller, conclusion(callerID, callerISN, r.cookieOf(r.caller), 700))
			if r.count(CountRejected) != refused {
				t.Error("a repeated CONCLUSION was refused")
			}
			r.owner.SetStep(overload.StepNone)
			again := r.dialFront()
			r.tries(again, callerID+9, player)
			r.answerInduction()
		})
	}
}

// cookieOf returns the cookie that a caller's socket has.
func (r *rig) cookieOf(c *net.UDPConn) uint32 {
	return r.admission.cookies.Generate(r.now, fromConn(c))
}

// From StepTelemetry on sessions are not measured, and afterwards their figures are true:
// what passed meanwhile is not lost.
func TestSessionsAreNotMeasured(t *testing.T) {
	r := newRig(t)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	seq, number := uint32(callerISN), uint32(0)
	send := func(n int) {
		for range n {
			r.send(r.caller, media(backendID, seq, 3<<30|1))
			if b, _ := r.receive(r.backend); len(b) != 1332 {
				t.Fatalf("received %x", b)
			}
			seq++
		}
		number++
		r.reply(upstream, ackOf(wire.TypeACK, callerID, number, seq, 40_000, 5_000, 8000, 190, 1900, 250_000))
		r.receive(r.caller)
		r.pass(20 * time.Millisecond)
		r.send(r.caller, ackOf(wire.TypeACKACK, backendID, number))
		r.receive(r.backend)
	}
	quality := func() telemetry.Quality { return r.only().Ways[telemetry.ToBackend] }
	send(10)
	if q := quality(); q.Packets != 10 || !q.Timed || r.only().Media.IsZero() {
		t.Fatalf("before %+v", q)
	}
	r.owner.SetStep(overload.StepTelemetry)
	before := r.only().ToBackend.Packets
	send(10)
	v := r.only()
	if q := v.Ways[telemetry.ToBackend]; q.Packets != 10 || q.Timed || q.Heard || q.LostBefore != 0 {
		t.Errorf("in the gap %+v", q)
	}
	if v.ToBackend.Packets != before+11 || !v.Media.IsZero() {
		t.Errorf("in the gap %d datagrams, before %d; media at %v", v.ToBackend.Packets, before, v.Media)
	}
	if got := r.samples(v.Taken.Add(-time.Second)); len(got) != 1 {
		t.Error("in the gap the session is not active")
	}
	// One that begins in the gap.
	other := r.dialFront()
	r.establish(other, callerID+1, callerISN, backendID+1)
	for n := range uint32(10) {
		r.send(other, media(backendID+1, callerISN+n, 3<<30|1))
		r.receive(r.backend)
	}
	r.owner.SetStep(overload.StepNone)
	r.settle()
	send(10)
	r.send(other, media(backendID+1, callerISN+10, 3<<30|1))
	for _, v := range r.views(Filter{}) {
		q := v.Ways[telemetry.ToBackend]
		if q.LostBefore != 0 || q.LostBehind != 0 || q.Reordered != 0 || q.Duplicated != 0 {
			t.Errorf("after the gap %+v", q)
		}
		if want := map[uint32]uint64{callerID: 20, callerID + 1: 1}[v.CallerSocket]; q.Packets != want {
			t.Errorf("after the gap %d packets, want %d", q.Packets, want)
		}
	}
	send(3)
	if q := r.views(Filter{Caller: fromConn(r.caller).Netip()})[0].Ways[telemetry.ToBackend]; !q.Timed || q.RTT < 20*time.Millisecond || q.RTT > time.Second {
		t.Errorf("RTT %v", q.RTT)
	}
}

// The shard prepares many sessions for being measured again in slices.
func TestGapEndsInSlices(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxSessions = 3 * chunkSize })
	r.fill(2*chunkSize + 1)
	r.owner.SetStep(overload.StepTelemetry)
	r.turn()
	r.owner.SetStep(overload.StepNone)
	for want := range 3 {
		if !r.meters.Paused() {
			t.Fatalf("measured again after %d slices", want)
		}
		if due, ok := r.nextDue(); want > 0 && (!ok || due > r.now+gapSliceEvery) {
			t.Errorf("the next slice is due at %v, now is %v", due, r.now)
		}
		r.turn()
	}
	if r.meters.Paused() {
		t.Error("not measured again")
	}
}

func TestWorkClock(t *testing.T) {
	var c workClock
	c.word.Store(-1)
	const s = time.Second
	for _, at := range []struct {
		do   func(time.Duration)
		now  time.Duration
		want time.Duration
	}{
		{c.waits, 1 * s, 0}, // it waits already
		{c.begins, 2 * s, 0},
		{c.begins, 3 * s, 1 * s}, // it works already
		{c.waits, 5 * s, 3 * s},
		{c.waits, 9 * s, 3 * s},
		{c.begins, 10 * s, 3 * s},
		{func(time.Duration) {}, 60 * s, 53 * s}, // a turn that does not end
		{c.waits, 61 * s, 54 * s},
	} {
		at.do(at.now)
		if got := c.read(at.now); got != at.want {
			t.Errorf("at %v: worked %v, want %v", at.now, got, at.want)
		}
	}
}

// A group reads the clocks of all loops, whatever they do.
func TestWorking(t *testing.T) {
	r := newRig(t)
	r.work.waits(time.Since(r.origin))
	before := r.owner.Working()[0]
	r.elapse(time.Hour)
	if got := r.owner.Working()[0]; got != before {
		t.Errorf("a loop that waits has worked %v", got-before)
	}
	r.turn() // and hangs
	r.elapse(time.Hour)
	if got := r.owner.Working()[0] - before; got < time.Hour || got > 2*time.Hour {
		t.Errorf("a loop that hangs has worked %v", got)
	}
}

// What the kernel has dropped is read once more after the last datagrams, also by a shard
// without sessions: else its share would be told of a silence much later.
func TestQueuesAreReadAfterTheLastDatagrams(t *testing.T) {
	r := newRig(t)
	r.pass(2 * ratesEvery)
	if due, ok := r.nextDue(); ok {
		t.Fatalf("an idle shard is due at %v, now is %v", due, r.now)
	}
	r.send(r.caller, []byte("x"))
	if due, ok := r.nextDue(); !ok || due > r.now+ratesEvery {
		t.Errorf("due at %v %v, now is %v", due, ok, r.now)
	}
	r.pass(ratesEvery)
	if due, ok := r.nextDue(); ok {
		t.Errorf("due at %v again, now is %v", due, r.now)
	}
}
