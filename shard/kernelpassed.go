package shard

import (
	"time"

	"srtrelay/observe/telemetry"
	"srtrelay/shard/kernelpath"
	"srtrelay/shard/migration"
)

// What a shard learns of the datagrams that pass in the kernel: their sums, and for the telemetry
// heads of single ones by records, the others by number.

// refresh adds what has passed in the kernel to a session, and shows it to the telemetry.
func (s *Shard) refresh(i uint32, ss *session) {
	if !ss.inKernel {
		return
	}
	s.refreshCounts(i, ss)
	for way := range telemetry.Way(2) {
		w, one := s.kernel.path.Way(i, int(way)), &s.kernel.state(i).ways[way]
		if !one.waiting || one.handover.Fresh(w) { // else the shard is ahead of the program
			s.takeData(ss, one, w, way)
		}
	}
}

// refreshCounts is refresh without the telemetry, whose records are not in the cache.
func (s *Shard) refreshCounts(i uint32, ss *session) {
	if !ss.inKernel {
		return
	}
	st := s.kernel.state(i)
	seen := [2]*time.Duration{telemetry.ToBackend: &ss.callerSeen, telemetry.ToCaller: &ss.backendSeen}
	before := st.ways[telemetry.ToBackend].taken.Packets
	for way := range telemetry.Way(2) {
		w, one := s.kernel.path.Way(i, int(way)), &st.ways[way]
		if now := w.Passed(); now != one.taken {
			s.addPassed(ss, way, uint64(now.Packets-one.taken.Packets), now.Bytes-one.taken.Bytes)
			*seen[way] = max(*seen[way], w.Last())
			s.counters.add(CountKernelRecordsLost, uint64(now.Lost-one.taken.Lost))
			one.taken = now
		}
	}
	if ss.backendSeen >= ss.callerSeen {
		ss.unansweredSince = 0
	} else if ss.unansweredSince <= ss.backendSeen {
		// The caller has sent since, at the earliest after the last look.
		ss.unansweredSince = max(ss.backendSeen, st.refreshed)
	}
	came := st.ways[telemetry.ToBackend].taken.Packets
	ss.responseUsed = ss.responseUsed || came > 0
	if came != before {
		s.sessions.cold(i).trace.Pass(ss.callerSeen, ss.toBackend.Packets)
	}
	st.refreshed = s.now
}

// addPassed counts datagrams that have passed in the kernel where those are counted that
// pass the shard.
func (s *Shard) addPassed(ss *session, way telemetry.Way, packets, bytes uint64) {
	if packets == 0 {
		return
	}
	c := &s.counters
	flow := &ss.toBackend
	counts := [...]Counter{CountReceivedFront, CountForwardedToBackend, CountKernelToBackend}
	sums := [...]Counter{CountReceivedFrontBytes, CountForwardedToBackendBytes}
	if way == telemetry.ToCaller {
		flow = &ss.toCaller
		counts = [...]Counter{CountReceivedBack, CountForwardedToCaller, CountKernelToCaller}
		sums = [...]Counter{CountReceivedBackBytes, CountForwardedToCallerBytes}
	}
	for _, k := range counts {
		c.add(k, packets)
	}
	for _, k := range sums {
		c.add(k, bytes)
	}
	c.add(CountSent, packets)
	c.add(CountSentBytes, bytes)
	c.add(CountKernelBytes, bytes)
	flow.Packets += packets
	flow.Bytes += bytes
	s.peers.slots[ss.peerSlot].bytes += bytes
}

// readRecords shows the telemetry the datagrams that have passed in the kernel and are not
// just the next data packet. It returns how many there were; without telemetry there are
// none.
func (s *Shard) readRecords() (n int) {
	if !s.cfg.Telemetry {
		return 0
	}
	n = s.kernel.path.Read(recordsPerTurn, s.onRecord)
	s.counters.add(CountKernelRecords, uint64(n))
	return n
}

// readNext plans the next read of the records after one that had n.
func (k *kernel) readNext(now time.Duration, n int) {
	space := k.path.RecordSpace()
	switch {
	case n >= space/recordsMany:
		k.readWait = max(k.readWait/2, recordsSoon)
	case n < space/recordsFew:
		k.readWait = min(max(2*k.readWait, recordsSoon), recordsSeldom)
	}
	k.readAt = now + k.readWait
}

// onRecord handles one record.
func (s *Shard) onRecord(r *kernelpath.Record) {
	ss := s.sessions.find(r.Place, r.Gen)
	if ss == nil || !ss.inKernel {
		return
	}
	way := telemetry.Way(r.Way)
	if !r.Head.IsControl() {
		s.kernel.state(r.Place).ways[way].exceptions++
	}
	if way == telemetry.ToBackend && migration.TellsClock(r.Head) {
		s.sessions.cold(r.Place).trace.NoteClock(r.At, r.Head)
	}
	terms := false
	if s.meters.Paused() {
		terms = telemetry.ObserveTerms(r.Head)
	} else {
		terms = s.meters.ObserveHead(&ss.meter, way, r.At, r.Head, r.Length, r.Next)
	}
	if !terms {
		return
	}
	before := s.meters.Sequence(&ss.meter, way.Opposite()).Rexmit
	s.updateTerms(r.Place, ss, way, r.Head)
	if s.meters.Sequence(&ss.meter, way.Opposite()).Rexmit != before {
		// HSv4 negotiates after the handshake. The program learns it with the next offer.
		s.kernel.path.Way(r.Place, int(way.Opposite())).SetPending()
	}
}

// mediaSince reports whether a data packet of a session has passed in the kernel since a time.
func (k *kernel) mediaSince(i uint32, since time.Duration) bool {
	return max(k.path.Way(i, 0).LastData(), k.path.Way(i, 1).LastData()) >= since
}

// takeData shows the telemetry the data packets that have passed in order since the last
// record. While there are records that have not been read it does nothing.
func (s *Shard) takeData(ss *session, one *kernelWay, w kernelpath.Way, way telemetry.Way) {
	if !s.cfg.Telemetry {
		return
	}
	next, bytes, last, exceptions := w.Data()
	if s.meters.Paused() {
		one.data = bytes // not measured
		return
	}
	if exceptions != one.exceptions || next == one.next && bytes == one.data {
		return // of the latter the meter has been told: it is not in the cache
	}
	s.meters.InOrder(&ss.meter, way, next, bytes-one.data, last)
	one.next, one.data = next, bytes
}
