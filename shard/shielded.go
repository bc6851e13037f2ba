package shard

import (
	"time"

	"srtrelay/observe/capture"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/shield"
	"srtrelay/wire"
)

// freshFor is how long after a data packet the telemetry's sequence number is what the
// sender's DROPREQs are compared with. Beyond that it says nothing: the sender may have gone
// on elsewhere, as in a bonding group, or the telemetry may be off.
const freshFor = 3 * time.Second

// failsShield reports whether the other side of an established session must not get a
// datagram, and under which name it is dropped. A data packet costs one branch.
func (s *Shard) failsShield(i uint32, ss *session, way telemetry.Way, p wire.Packet) (drop Counter, fails bool) {
	if !p.IsControl() || !s.limits.Shield {
		return 0, false
	}
	return s.checkControl(i, ss, way, p)
}

func (s *Shard) checkControl(i uint32, ss *session, way telemetry.Way, p wire.Packet) (drop Counter, fails bool) {
	var progress shield.Progress
	if p.Is(wire.TypeDropReq) {
		progress = s.progress(i, ss, way)
	}
	v := shield.Check(p, progress)
	if v == shield.VerdictPass {
		return 0, false
	}
	how := capture.ToBackend
	if way == telemetry.ToCaller {
		how = capture.ToCaller
	}
	s.capture(ss, how|capture.Received, p)
	return dropOf(v), true
}

// progress returns how far the data packets of a way have come, if that is known. What has
// passed in the kernel is added up first, because the program has judged by it.
func (s *Shard) progress(i uint32, ss *session, way telemetry.Way) shield.Progress {
	if !s.cfg.Telemetry {
		return shield.Progress{}
	}
	if ss.inKernel {
		s.readRecords()
		s.refresh(i, ss)
	}
	next, at, ok := s.meters.Newest(&ss.meter, way)
	return shield.Progress{Next: next, Known: ok && s.now-at < freshFor}
}

// dropOf returns the counter of a verdict.
func dropOf(v shield.Verdict) Counter { return DropShieldKM + Counter(v-shield.VerdictKM) }

// failsHandshakeShield reports whether the other side must not get a handshake that opens a
// session: libsrt reads the key material in it as it reads that in a session.
func (s *Shard) failsHandshakeShield(h wire.Handshake) bool {
	return s.limits.Shield && shield.CheckHandshake(h.Packet()) != shield.VerdictPass
}
