package shard

import (
	"errors"
	"time"

	"srtrelay/observe/telemetry"
	"srtrelay/shard/kernelpath"
	"srtrelay/wire"
)

// How a way of a session is handed over to the kernel.

// handoverPatience is how long a way may be pending while datagrams come. After that one has
// been lost between the program and the shard, and the handover begins anew; or the program
// sees none of them, and the session leaves the path.
const handoverPatience = time.Second

// errPassedBy says that datagrams have come that the program has not seen. They could be
// overtaken by those that it sees, or their addresses are not those that it writes.
var errPassedBy = errors.New("its datagrams come in fragments, with translated addresses, or by a device that the program is not attached to")

// setSequence tells the program how far the data packets of a way have come. The way must
// not be on.
func (s *Shard) setSequence(i uint32, ss *session, way telemetry.Way) {
	s.kernel.path.Way(i, int(way)).SetSequence(s.meters.Sequence(&ss.meter, way), s.cfg.Telemetry)
}

// relayedUp handles a datagram of a session in the kernel path that has come up and is
// about to be relayed. It must be called before the telemetry sees the datagram.
func (s *Shard) relayedUp(i uint32, ss *session, way telemetry.Way, p wire.Packet) {
	w := s.kernel.path.Way(i, int(way))
	if w.Mode() == kernelpath.On {
		// A SHUTDOWN or the like goes up by itself.
		if !p.IsControl() {
			s.passedBy(i, ss)
		}
		return
	}
	one := &s.kernel.state(i).ways[way]
	if one.handover.Fresh(w) {
		s.readRecords()
		s.takeData(ss, one, w, way)
	}
	one.handover.Sent(w, p)
	one.waiting = true
	switch seen := one.handover.Seen(w); {
	case seen && !one.handover.PassedBy(w):
		s.queueHandovers(i, ss, way)
	case seen, one.unseen != 0 && s.now-one.unseen >= handoverPatience:
		s.passedBy(i, ss)
	case one.unseen == 0:
		one.unseen = s.now
	}
}

// passedBy has a session leave the path whose datagrams the program does not see.
func (s *Shard) passedBy(i uint32, ss *session) {
	s.leaveKernel(i, ss)
	s.notEntered(errPassedBy)
}

// queueHandovers has offerPending offer a way of which a datagram has gone up, and the other
// one if that waits for it. The program must have seen both ways: what it sends has the
// addresses that it expects from the peer, and would not arrive if somebody translates them.
func (s *Shard) queueHandovers(i uint32, ss *session, way telemetry.Way) {
	st, opposite := s.kernel.state(i), way.Opposite()
	other := &st.ways[opposite]
	if !other.handover.Seen(s.kernel.path.Way(i, int(opposite))) {
		return
	}
	s.queueHandover(kernelRef{i, ss.gen, way, s.now}, &st.ways[way])
	if other.handover.Due() {
		s.queueHandover(kernelRef{i, ss.gen, opposite, s.now}, other)
	}
}

func (s *Shard) queueHandover(ref kernelRef, one *kernelWay) {
	if !one.queued {
		one.queued = true
		s.kernel.pending = append(s.kernel.pending, ref)
	}
}

// offerPending offers to the program the ways of which nothing is under way. The outboxes
// must have been flushed.
func (s *Shard) offerPending() {
	k := &s.kernel
	left := k.pending[:0]
	for _, ref := range k.pending {
		ss := s.sessions.at(ref.index)
		if ss.gen != ref.gen || !ss.inKernel {
			continue
		}
		w, one := k.path.Way(ref.index, int(ref.way)), &k.state(ref.index).ways[ref.way]
		switch {
		case !one.queued: // it has left the path meanwhile, and entered it again
			continue
		case one.handover.Complete(w):
			s.setSequence(ref.index, ss, ref.way)
			one.handover.Offer(w)
			s.counters.inc(CountKernelHandovers)
			one.waiting, one.queued = false, false
			continue
		case s.now-ref.since >= handoverPatience:
			one.handover.Restart(w)
			ref.since = s.now
		}
		left = append(left, ref)
	}
	k.pending = left
}
