package shard

import (
	"time"

	"srtrelay/observe/telemetry"
	"srtrelay/shard/kernelpath"
)

// What the telemetry learns of the datagrams that pass in the kernel: heads of single ones
// by records, the others by number.

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
	switch {
	case n >= recordsMany:
		k.readWait = max(k.readWait/2, recordsSoon)
	case n < recordsFew:
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
	if exceptions != one.exceptions {
		return
	}
	s.meters.InOrder(&ss.meter, way, next, bytes-one.data, last)
	one.data = bytes
}
