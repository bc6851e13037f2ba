package telemetry

import "srtrelay/wire"

// A relay that has more to do than it can stops measuring for a while: a gap. A meter must
// not take for lost, or for late, what passed in it.

// staleBit in record.expect says that data packets may have passed that the record has not
// seen: no packet is the expected one then. The next original restarts the record.
const staleBit = 1

// unknownStart in Meter.isn says so of the records that the meter does not have yet.
const unknownStart = 1 << 31

// Pause begins a gap: until Resume nothing is measured, and Report has neither an RTT nor a
// receiver's report. The caller must not call Observe meanwhile, but ObserveTerms.
func (s *Slab) Pause() { s.paused = true }

// Paused reports whether there is a gap.
func (s *Slab) Paused() bool { return s.paused }

// Resume ends a gap. Skip must have been called for every meter that had begun by then.
func (s *Slab) Resume() { s.paused = false }

// Skip notes that data packets may have passed that the meter has not seen.
func (s *Slab) Skip(m *Meter) {
	m.isn |= unknownStart
	for _, place := range m.place {
		if place != 0 {
			s.at(place).skip()
		}
	}
}

// ObserveTerms reports whether a datagram holds terms, as Observe does, and measures
// nothing.
func ObserveTerms(p wire.Packet) bool {
	return p.IsControl() && p.Control() == wire.TypeUser &&
		p.Subtype() >= wire.SubtypeHSReq && p.Subtype() <= wire.SubtypeKMRsp
}

// skip keeps the counters and forgets what would be compared with later packets.
func (r *record) skip() {
	r.expect |= staleBit
	r.hasReceiver, r.dropping = false, false
	r.ackTimer, r.noted = ackTimer{}, [len(r.noted)]notedPacket{}
}

// stale reports whether packets may have passed that the record has not seen.
func (r *record) stale() bool { return r.expect&staleBit != 0 }

// originalAfterGap handles the first original after a gap. What came before it counts as
// forwarded: a retransmission of it is one of a packet that was lost behind the relay.
func (r *record) originalAfterGap(seq, key uint32) {
	r.restart(seq)
	if old := r.expect &^ staleBit; key != old && key != 0 && old != 0 {
		r.KeyRefreshes++
	}
	r.expect = key
}
