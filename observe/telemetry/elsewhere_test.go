package telemetry

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"srtrelay/wire"
)

// elsewhere is a rig, and a meter that is told of the same packets afterwards: of those in
// order by number, of others by their heads.
type elsewhere struct {
	*rig
	t     *testing.T
	slab  Slab
	m     Meter
	bytes uint64        // of the payloads that came in order
	last  time.Duration // of these
	next  uint32
}

func newElsewhere(t *testing.T, isn uint32) *elsewhere {
	return &elsewhere{rig: newRig(isn), t: t, m: Begin(isn, rexmitTerms()), next: isn}
}

// pass passes one packet to the backend.
func (e *elsewhere) pass(word uint32, seqs ...uint32) {
	for _, seq := range seqs {
		before := e.rig.slab.Sequence(&e.rig.m, ToBackend)
		e.data(word, seq)
		p := packetOf(seq, word)
		if seq&wire.SequenceMask == before.Next && word&(wire.KeyMask|wire.RexmitBit) == before.Expect && word&wire.MessageMask != 0 {
			e.bytes += uint64(len(p) - wire.HeaderSize)
			e.last = e.now
		} else {
			e.slab.ObserveHead(&e.m, ToBackend, e.now, p[:wire.HeaderSize], len(p), before.Next)
		}
		e.next = e.rig.slab.Sequence(&e.rig.m, ToBackend).Next
	}
}

// compare has the second meter catch up, and compares it with the first.
func (e *elsewhere) compare(what string) {
	e.t.Helper()
	e.slab.InOrder(&e.m, ToBackend, e.next, e.bytes, e.last)
	e.bytes = 0
	if got, want := e.slab.Report(&e.m)[ToBackend], e.quality(); got != want {
		e.t.Errorf("%s:\ntold %+v\nseen %+v", what, got, want)
	}
	if got, want := e.slab.Sequence(&e.m, ToBackend), e.rig.slab.Sequence(&e.rig.m, ToBackend); got != want {
		e.t.Errorf("%s: told %+v, seen %+v", what, got, want)
	}
}

func run(from, n uint32) (seqs []uint32) {
	for i := range n {
		seqs = append(seqs, (from+i)&wire.SequenceMask)
	}
	return seqs
}

// A meter that is told of packets says the same as one that has seen them.
func TestElsewhere(t *testing.T) {
	for _, isn := range []uint32{firstSeq, wire.SequenceMask - 20} {
		e := newElsewhere(t, isn)
		e.compare("nothing")
		e.pass(plain, run(isn, 10)...)
		e.compare("in order")
		e.pass(plain, run(isn+12, 10)...)
		e.compare("two lost")
		e.pass(plain, isn+10)
		e.pass(rexmit, isn+11, isn+15)
		e.compare("late, retransmitted")
		e.pass(filter, isn+21)
		e.pass(odd, run(isn+22, 3)...)
		e.pass(even, run(isn+25, 3)...)
		e.compare("FEC, keys")
		e.pass(plain, isn+26)
		e.pass(even, run(isn+28, windowSize+3)...)
		e.compare("more than a window")
		e.pass(even, isn+100)
		e.pass(rexmit, isn+windowSize)
		e.compare("behind the window, and within")
		e.pass(even, isn+maxGap+windowSize+100)
		e.compare("a new begin")
	}
}

// The window is complete when it is needed, however many packets have passed in order since:
// more than there are sequence numbers, too.
func TestWindowAfterManyInOrder(t *testing.T) {
	for name, runs := range map[string][]uint32{
		"one":                       {1},
		"a word":                    {64},
		"a window less one":         {windowSize - 1},
		"a window, in parts":        {windowSize - 1, 1},
		"all numbers and one":       {1<<30 - 1, 1<<30 - 1, 3},
		"all numbers and a window":  {1<<30 - 1, 1<<30 - 1, windowSize + 2},
		"all numbers three times":   {1<<30 - 1, 1<<30 - 1, 1<<30 - 1, 1<<30 - 1, 1<<30 - 1, 1<<30 - 1, 6},
		"a window of single ones":   slices.Repeat([]uint32{1}, windowSize),
		"two windows of tens and 5": slices.Repeat([]uint32{10}, 2*windowSize/10+5),
	} {
		var slab Slab
		m := Begin(firstSeq, rexmitTerms())
		slab.InOrder(&m, ToBackend, firstSeq+1, 0, 0)
		slab.ObserveHead(&m, ToBackend, time.Second, packetOf(firstSeq+2, plain), 1332, firstSeq+1) // one lost
		next, passed := uint32(firstSeq+3), uint64(2)
		for _, n := range runs {
			next = (next + n) & wire.SequenceMask
			passed += uint64(n)
			slab.InOrder(&m, ToBackend, next, 0, 0)
		}
		q := slab.Report(&m)[ToBackend].Counts
		if want := (Counts{Packets: passed, Bytes: 1316, LostBefore: 1}); q != want {
			t.Errorf("%s: %+v, want %+v", name, q, want)
		}
		again := min(passed, windowSize) - 1 // not the lost one
		for k := range uint32(again) {
			if seq := (next - 1 - k) & wire.SequenceMask; seq != firstSeq+1 {
				slab.ObserveHead(&m, ToBackend, 2*time.Second, packetOf(seq, plain), 1332, next)
			}
		}
		if q := slab.Report(&m)[ToBackend].Counts; q.Duplicated < again-1 || q.Reordered != 0 {
			t.Errorf("%s: %d of the last %d came again: %+v", name, q.Duplicated, again, q)
		}
		if passed >= windowSize {
			continue
		}
		slab.ObserveHead(&m, ToBackend, 3*time.Second, packetOf(firstSeq+1, plain), 1332, next)
		if q := slab.Report(&m)[ToBackend].Counts; q.Reordered != 1 || q.LostBefore != 0 {
			t.Errorf("%s: the lost one came late: %+v", name, q)
		}
	}
}

// What is told of a way on which nothing has passed takes no record.
func TestElsewhereTakesNoRecord(t *testing.T) {
	var slab Slab
	m := Begin(firstSeq, rexmitTerms())
	slab.InOrder(&m, ToBackend, firstSeq, 0, 0)
	if n := slab.inUse(); n != 0 {
		t.Errorf("%d records", n)
	}
	if q := slab.Sequence(&m, ToCaller); q != (Sequence{Next: firstSeq, Rexmit: true}) {
		t.Errorf("%+v", q)
	}
	slab.InOrder(&m, ToBackend, firstSeq+1, 0, time.Second)
	if q := slab.Report(&m)[ToBackend]; q.Packets != 1 || q.Last != time.Second {
		t.Errorf("%+v", q)
	}
}

// What comes late is ignored: the meter has seen newer packets meanwhile.
func TestElsewhereTooLate(t *testing.T) {
	r := newRig(firstSeq)
	r.data(plain, run(firstSeq, 10)...)
	before := r.quality()
	r.slab.InOrder(&r.m, ToBackend, firstSeq+5, 0, 0)
	if got := r.quality(); got != before {
		t.Errorf("%+v, before %+v", got, before)
	}
}

// Reports are handled by their heads; the first record of a way may be due to one.
func TestElsewhereReports(t *testing.T) {
	r := newRig(firstSeq)
	see := func(way Way, p wire.Packet) bool {
		return r.slab.ObserveHead(&r.m, way, r.now, p, len(p), firstSeq)
	}
	see(ToCaller, fullACK(1))
	see(ToBackend, controlOf(wire.TypeACKACK, 0, 1))
	see(ToCaller, controlOf(wire.TypeNAK, 0, 0, 1<<31|3, 9))
	if c := r.counts(); c != (Counts{ACKs: 1, NAKs: 1, ACKACKs: 1, LostReported: 7}) {
		t.Errorf("%+v", c)
	}
	if !see(ToBackend, user(wire.SubtypeKMReq, keyMaterial(CipherCTR, 16))) {
		t.Error("key material holds no terms")
	}
	if n := r.slab.inUse(); n != 1 {
		t.Errorf("%d records", n)
	}
}

// Measures says when a sequence number can be relied on, LastACK which ACKACKs are due.
func TestMeasures(t *testing.T) {
	var s Slab
	m := Begin(100, &Terms{})
	want := func(what string, yes bool) {
		t.Helper()
		if s.Measures(&m, ToBackend) != yes {
			t.Errorf("%s: %v, want %v", what, !yes, yes)
		}
	}
	want("before the first packet", false)
	if _, known := s.LastACK(&m, ToBackend); known {
		t.Error("an ACK before the first")
	}
	p := make(wire.Packet, 40)
	binary.BigEndian.PutUint32(p, 100)
	binary.BigEndian.PutUint32(p[4:], 3<<30|1)
	s.Observe(&m, ToBackend, time.Second, p)
	want("after a packet", true)
	ack := wire.AppendACK(nil, 77, 0, 1, wire.ACK{Next: 101, RTT: 1000})
	s.Observe(&m, ToCaller, time.Second, ack)
	if n, known := s.LastACK(&m, ToBackend); n != 77 || !known {
		t.Errorf("last ACK %d, %v", n, known)
	}
	s.Pause()
	want("in a gap", false)
	s.Skip(&m)
	s.Resume()
	want("after a gap", false)
}
