package telemetry

import (
	"testing"
	"time"

	"srtrelay/wire"
)

func seqs(from, n uint32) []uint32 {
	all := make([]uint32, n)
	for i := range all {
		all[i] = (from + uint32(i)) & wire.SequenceMask
	}
	return all
}

func TestData(t *testing.T) {
	const s = firstSeq
	for _, c := range []struct {
		name string
		isn  uint32
		play func(*rig)
		want Counts
	}{
		{"in order", s, func(r *rig) { r.data(plain, seqs(s, 10)...) }, Counts{Packets: 10}},
		{"the first are lost", s, func(r *rig) { r.data(plain, s+3) }, Counts{Packets: 1, LostBefore: 3}},
		{"a gap", s, func(r *rig) { r.data(plain, s, s+1, s+4) }, Counts{Packets: 3, LostBefore: 2}},
		{"around the end", wire.SequenceMask - 1, func(r *rig) {
			r.data(plain, seqs(wire.SequenceMask-1, 6)...)
		}, Counts{Packets: 6}},
		{"a gap around the end", wire.SequenceMask, func(r *rig) {
			r.data(plain, wire.SequenceMask, 2)
			r.data(rexmit, 0)
			r.data(plain, 1)
		}, Counts{Packets: 4, LostBefore: 1, Retransmitted: 1, Reordered: 1}},
		{"late gives the gap back", s, func(r *rig) { r.data(plain, s, s+2, s+1, s+3) }, Counts{Packets: 4, Reordered: 1}},
		{"duplicates", s, func(r *rig) { r.data(plain, s, s, s+1, s) }, Counts{Packets: 4, Duplicated: 2}},
		{"late twice", s, func(r *rig) { r.data(plain, s, s+2, s+1, s+1) }, Counts{Packets: 4, Reordered: 1, Duplicated: 1}},
		{"lost before", s, func(r *rig) {
			r.data(plain, s, s+2)
			r.data(rexmit, s+1)
		}, Counts{Packets: 3, Retransmitted: 1, LostBefore: 1}},
		{"lost behind", s, func(r *rig) {
			r.data(plain, s, s+1, s+2)
			r.data(rexmit, s+1)
		}, Counts{Packets: 4, Retransmitted: 1, LostBehind: 1}},
		{"lost before and then behind", s, func(r *rig) {
			r.data(plain, s, s+2)
			r.data(rexmit, s+1)
			r.now += 30 * time.Millisecond
			r.data(rexmit, s+1)
		}, Counts{Packets: 4, Retransmitted: 2, LostBefore: 1, LostBehind: 1}},
		{"a network's copy of a retransmission", s, func(r *rig) {
			r.data(plain, s, s+2)
			r.data(rexmit, s+1, s+1)
		}, Counts{Packets: 4, Retransmitted: 2, LostBefore: 1, Duplicated: 1}},
		{"asked again because it was late", s, func(r *rig) {
			r.data(plain, s, s+2, s+1)
			r.data(rexmit, s+1)
			r.now += 30 * time.Millisecond
			r.data(rexmit, s+1)
		}, Counts{Packets: 5, Retransmitted: 2, Reordered: 1, LostBehind: 1}},
		{"the last are sent again", s, func(r *rig) {
			r.data(plain, s)
			r.data(rexmit, s+2)
		}, Counts{Packets: 2, Retransmitted: 1, LostBefore: 2}},
		{"filter packets", s, func(r *rig) {
			r.data(plain, s)
			r.data(filter, s, s+500)
			r.data(plain, s+1)
		}, Counts{Packets: 4, Filter: 2}},
		{"a filter packet with the R bit", s, func(r *rig) {
			r.data(filter|wire.RexmitBit, s)
		}, Counts{Packets: 1, Filter: 1}},
		{"the largest gap", s, func(r *rig) {
			r.data(plain, s, s+1+maxGap, s+2+maxGap)
		}, Counts{Packets: 3, LostBefore: maxGap}},
		{"a new beginning ahead", s, func(r *rig) {
			r.data(plain, s, s+2+maxGap, s+3+maxGap)
			r.data(rexmit, s+1+maxGap)
		}, Counts{Packets: 4, Retransmitted: 1, LostBehind: 1}},
		{"a retransmission far ahead", s, func(r *rig) {
			r.data(rexmit, s+2+maxGap)
			r.data(plain, s+3+maxGap)
		}, Counts{Packets: 2, Retransmitted: 1}},
		{"a gap of more than the window", s, func(r *rig) {
			r.data(plain, seqs(s, windowSize)...)
			r.data(plain, s+2*windowSize+100)
			r.data(plain, s+2*windowSize+90) // late, the window must be empty
		}, Counts{Packets: windowSize + 2, LostBefore: windowSize + 99, Reordered: 1}},
		{"the oldest of the window", s, func(r *rig) {
			r.data(plain, seqs(s, windowSize)...)
			r.data(rexmit, s)
		}, Counts{Packets: windowSize + 1, Retransmitted: 1, LostBehind: 1}},
		{"older than the window", s, func(r *rig) {
			r.data(plain, seqs(s, windowSize+1)...)
			r.data(rexmit, s)
			r.data(plain, s)
		}, Counts{Packets: windowSize + 3, Retransmitted: 1}},
		{"a forged packet ahead does not last", s, func(r *rig) {
			r.data(plain, s, s+1<<29)
			r.data(plain, seqs(s+1, maxStrays)...) // the last of them begins anew
			r.data(plain, s+maxStrays+1, s+maxStrays+3)
		}, Counts{Packets: maxStrays + 4, LostBefore: 1}},
		{"strays now and then are no beginning", s, func(r *rig) {
			const far = s + 1<<29
			r.data(plain, s, far)
			r.data(plain, seqs(s+1, maxStrays-1)...)
			r.data(plain, far+1, s+1, far+4)
		}, Counts{Packets: maxStrays + 4, LostBefore: 2}},
		{"a key from the start", s, func(r *rig) { r.data(even, s, s+1) }, Counts{Packets: 2}},
		{"a refresh", s, func(r *rig) {
			r.data(even, s, s+1)
			r.data(odd, s+2, s+3)
			r.data(even, s+5)
		}, Counts{Packets: 5, LostBefore: 1, KeyRefreshes: 2}},
		{"late under the old key", s, func(r *rig) {
			r.data(even, s, s+2)
			r.data(odd, s+3)
			r.data(even, s+1)
			r.data(even|wire.RexmitBit, s+2)
			r.data(odd, s+4)
		}, Counts{Packets: 6, Retransmitted: 1, Reordered: 1, LostBehind: 1, KeyRefreshes: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(c.isn)
			c.play(r)
			r.want(t, c.want)
			if got, want := r.quality().Bytes, c.want.Packets*1316; got != want {
				t.Errorf("%d bytes, want %d", got, want)
			}
			if last, ok := r.slab.LastData(&r.m); !ok || last != r.now && c.name != "asked again" {
				t.Errorf("last data at %v, %v; want %v", last, ok, r.now)
			}
		})
	}
}

// Without the flag bit 26 is of the message number: what comes again cannot be
// told from what comes late or twice.
func TestWithoutRexmitFlag(t *testing.T) {
	r := &rig{m: Begin(firstSeq, &Terms{}), now: time.Second}
	r.data(plain, firstSeq)
	r.data(rexmit, firstSeq+1, firstSeq+2, firstSeq+2)
	r.data(filter|wire.RexmitBit, firstSeq+3) // message number 1<<26
	r.want(t, Counts{Packets: 5, Duplicated: 1})
}

// The two ways of a session have nothing to do with each other.
func TestWaysAreApart(t *testing.T) {
	r := newRig(firstSeq)
	r.data(plain, firstSeq, firstSeq+1)
	r.see(ToCaller, packetOf(firstSeq+5, plain))
	r.want(t, Counts{Packets: 2})
	if c := r.slab.Report(&r.m)[ToCaller].Counts; c.Packets != 1 || c.LostBefore != 5 {
		t.Errorf("to the caller: %+v", c)
	}
}
