package telemetry

import (
	"testing"
	"time"

	"srtrelay/internal/message"
	"srtrelay/wire"
)

// gap lets packets pass that the meter does not see, as a shard does: nothing is shown to
// the slab, and before the end the meters are told.
func (r *rig) gap(packets uint32, seq *uint32) {
	r.slab.Pause()
	r.now += time.Duration(packets) * time.Millisecond
	*seq += packets
	r.slab.Skip(&r.m)
	r.slab.Resume()
}

// What passes in a gap is neither lost nor late, however long it lasts.
func TestGap(t *testing.T) {
	const s = firstSeq
	for name, c := range map[string]struct {
		play func(*rig)
		want Counts
	}{
		"of one packet": {func(r *rig) {
			seq := uint32(s + 10)
			r.data(plain, seqs(s, 10)...)
			r.gap(1, &seq)
			r.data(plain, seqs(seq, 10)...)
		}, Counts{Packets: 20}},
		"of a second": {func(r *rig) {
			seq := uint32(s + 10)
			r.data(plain, seqs(s, 10)...)
			r.gap(500, &seq)
			r.data(plain, seqs(seq, 10)...)
		}, Counts{Packets: 20}},
		"of an hour": {func(r *rig) {
			seq := uint32(s + 10)
			r.data(plain, seqs(s, 10)...)
			r.gap(3_600_000, &seq)
			r.data(plain, seqs(seq, 10)...)
		}, Counts{Packets: 20}},
		"without packets": {func(r *rig) {
			seq := uint32(s + 10)
			r.data(plain, seqs(s, 10)...)
			r.gap(0, &seq)
			r.data(plain, seqs(seq, 10)...)
		}, Counts{Packets: 20}},
		"before the first packet": {func(r *rig) {
			seq := uint32(s)
			r.gap(5000, &seq)
			r.data(plain, seqs(seq, 10)...)
		}, Counts{Packets: 10}},
		"twice": {func(r *rig) {
			seq := uint32(s + 10)
			r.data(plain, seqs(s, 10)...)
			r.gap(500, &seq)
			r.gap(500, &seq)
			r.data(plain, seqs(seq, 10)...)
		}, Counts{Packets: 20}},
		"and losses after it": {func(r *rig) {
			seq := uint32(s)
			r.gap(500, &seq)
			r.data(plain, seq, seq+3)
			r.data(rexmit, seq+1)
		}, Counts{Packets: 3, LostBefore: 2, Retransmitted: 1}},
		"and a retransmission first": {func(r *rig) {
			seq := uint32(s + 1)
			r.data(plain, s)
			r.gap(500, &seq)
			r.data(rexmit, seq-100, seq-99)
			r.data(plain, seqs(seq, 3)...)
		}, Counts{Packets: 6, Retransmitted: 2}},
		"in which the key changes": {func(r *rig) {
			seq := uint32(s + 1)
			r.data(even, s)
			r.gap(500, &seq)
			r.data(odd, seqs(seq, 3)...)
		}, Counts{Packets: 4, KeyRefreshes: 1}},
		"and FEC": {func(r *rig) {
			seq := uint32(s + 1)
			r.data(plain, s)
			r.gap(500, &seq)
			r.data(filter, seq)
			r.data(plain, seqs(seq, 3)...)
		}, Counts{Packets: 5, Filter: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(firstSeq)
			c.play(r)
			r.want(t, c.want)
		})
	}
}

// In a gap there is no RTT, and afterwards none before it has been measured again.
func TestGapHasNoRTT(t *testing.T) {
	r := newRig(firstSeq)
	exchange := func(number uint32) {
		r.see(ToCaller, fullACK(number))
		r.now += 20 * time.Millisecond
		r.see(ToBackend, controlOf(wire.TypeACKACK, 0, number))
	}
	known := func() bool { q := r.quality(); return q.Timed || q.Heard }
	r.data(plain, firstSeq)
	exchange(1)
	if !known() {
		t.Fatal("no RTT before the gap")
	}
	r.see(ToCaller, fullACK(2))
	sure := func() bool {
		_, _, newest := r.slab.Newest(&r.m, ToBackend)
		_, ack := r.slab.LastACK(&r.m, ToBackend)
		return newest || ack || r.slab.Measures(&r.m, ToBackend)
	}
	if !sure() {
		t.Error("nothing is known before the gap")
	}
	r.slab.Pause()
	if sure() {
		t.Error("the gap does not matter")
	}
	if known() || !r.slab.Paused() {
		t.Error("an RTT in the gap")
	}
	r.now += time.Second
	r.slab.Skip(&r.m)
	r.slab.Resume()
	r.see(ToBackend, controlOf(wire.TypeACKACK, 0, 2)) // late
	if known() || sure() {
		t.Errorf("after the gap %+v", r.quality())
	}
	exchange(99)
	if q := r.quality(); !q.Timed || q.RTT != 20*time.Millisecond || !q.Heard {
		t.Errorf("measured %+v", q)
	}
}

// A gap that begins in one process may end in the next.
func TestGapOverTakeOver(t *testing.T) {
	for name, first := range map[string]uint32{"with records": 10, "without": 0} {
		t.Run(name, func(t *testing.T) {
			r := newRig(firstSeq)
			r.data(plain, seqs(firstSeq, first)...)
			r.slab.Pause()
			b := r.slab.AppendSnapshot(nil, &r.m, r.now, message.Clock{})
			next := newRig(firstSeq)
			next.now = r.now
			if err := next.slab.Restore(&next.m, b, r.now, message.Clock{}); err != nil {
				t.Fatal(err)
			}
			next.data(plain, seqs(firstSeq+5000, 10)...)
			next.want(t, Counts{Packets: uint64(first) + 10})
		})
	}
}

// Where datagrams pass elsewhere the same holds.
func TestGapElsewhere(t *testing.T) {
	var s Slab
	m := Begin(firstSeq, rexmitTerms())
	s.InOrder(&m, ToBackend, firstSeq+10, 100, time.Second)
	s.Pause()
	s.Skip(&m)
	s.Resume()
	if q := s.Sequence(&m, ToBackend); q.Expect != 0 || q.Next != firstSeq+10 {
		t.Errorf("%+v", q)
	}
	s.InOrder(&m, ToBackend, firstSeq+7000, 50, 2*time.Second) // how many is not known
	head := packetOf(firstSeq+7002, plain)[:wire.HeaderSize]
	s.ObserveHead(&m, ToBackend, 3*time.Second, head, 1332, firstSeq+7000)
	s.InOrder(&m, ToBackend, firstSeq+7010, 50, 3*time.Second)
	if q := s.Report(&m)[ToBackend]; q.Packets != 10+1+7 || q.LostBefore != 2 {
		t.Errorf("%+v", q.Counts)
	}
}

// Terms are learnt in a gap, too.
func TestObserveTerms(t *testing.T) {
	for _, c := range []struct {
		p    wire.Packet
		want bool
	}{
		{packetOf(1, plain), false},
		{fullACK(1), false},
		{controlOf(wire.TypeUser, wire.SubtypeHSReq, 0), true},
		{controlOf(wire.TypeUser, wire.SubtypeKMRsp, 0), true},
		{controlOf(wire.TypeUser, wire.SubtypeKMRsp+1, 0), false},
		{controlOf(wire.TypeShutdown, 0, 0), false},
	} {
		if got := ObserveTerms(c.p); got != c.want {
			t.Errorf("%x: %v", c.p[:8], got)
		}
	}
}

// The newest packet is known only from what the meter has seen, up to the next gap.
func TestNewest(t *testing.T) {
	r := newRig(firstSeq)
	check := func(want bool) {
		t.Helper()
		next, at, ok := r.slab.Newest(&r.m, ToBackend)
		if ok != want || ok && (next != firstSeq+2 || at != r.now) {
			t.Errorf("next %d at %v, known %v", next, at, ok)
		}
	}
	check(false)
	r.data(plain, firstSeq, firstSeq+1)
	check(true)
	r.slab.Pause()
	check(false)
	r.slab.Skip(&r.m)
	r.slab.Resume()
	check(false)
	r.data(plain, firstSeq+1)
	check(true)
	if _, _, ok := r.slab.Newest(&r.m, ToCaller); ok {
		t.Error("the other way has no packet")
	}
}

// Whatever passes before, in and after gaps, a meter counts no packet twice, and no loss
// beyond what its bounds allow.
func FuzzGap(f *testing.F) {
	f.Add([]byte{1, 1, 0, 200, 9, 255, 1, 1, 2})
	f.Add([]byte{250, 1, 251, 3, 252, 1, 253, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newRig(firstSeq)
		seq, sent := uint32(firstSeq), uint64(0)
		for _, c := range b {
			r.now += time.Duration(c) * time.Millisecond
			word := uint32(plain)
			switch {
			case c >= 254:
				r.slab.Pause()
			case c >= 252:
				r.slab.Skip(&r.m)
				r.slab.Resume()
			case c >= 240:
				seq += uint32(c) << 10
			case c >= 200:
				seq -= uint32(c)
				word = rexmit
			default:
				seq += uint32(c % 4)
			}
			if !r.slab.Paused() {
				r.data(word, seq)
				sent++
			}
		}
		if c := r.counts(); c.Packets != sent || c.LostBehind > c.Retransmitted || c.Duplicated+c.Reordered > c.Packets || c.LostBefore > (maxGap+1)*c.Packets {
			t.Errorf("%d sent: %+v", sent, c)
		}
		if q := r.quality(); r.slab.Paused() && (q.Timed || q.Heard) {
			t.Errorf("in a gap %+v", q)
		}
	})
}
