package shard

import (
	"srtrelay/observe/telemetry"
	"srtrelay/wire"
)

// observe has the telemetry look at a datagram that is forwarded.
func (s *Shard) observe(i uint32, ss *Session, way telemetry.Way, p wire.Packet) {
	if s.meters.Observe(&ss.meter, way, s.now, p) {
		s.learn(i, ss, way, p)
	}
}

// agree takes down what the handshake settled; with telemetry off too, for it
// costs nothing on the path of a packet.
func (s *Shard) agree(i uint32, ss *Session, response wire.Handshake) {
	sd := s.sessions.side(i)
	sd.terms = telemetry.Agree(sd.opening.exchange.Conclusion(), response)
	ss.meter = telemetry.Begin(ss.isn, &sd.terms)
}

// learn takes what is settled later: HSv4's extensions, a refreshed key.
func (s *Shard) learn(i uint32, ss *Session, way telemetry.Way, p wire.Packet) {
	if sd := s.sessions.side(i); sd.terms.Learn(way, p) {
		s.meters.Settle(&ss.meter, &sd.terms)
	}
}
