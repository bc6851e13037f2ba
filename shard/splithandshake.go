package shard

import (
	"time"

	"srtrelay/handshake"
	"srtrelay/shard/letterbox"
	"srtrelay/shard/relays"
	"srtrelay/udp"
	"srtrelay/wire"
)

// Handshakes whose datagrams reach several relays behind one address, because the hash of the
// caller's flow changes in between (ADR 25).

// inductionsFor is for how long a shard remembers that it has answered an INDUCTION: longer than
// callers take for their handshake.
const inductionsFor = 10 * time.Second

// noteInduction notes that the handshake of a caller has begun here.
func (s *Shard) noteInduction(d *udp.Datagram, h wire.Handshake) {
	if s.admission.inductions != nil {
		s.admission.inductions.Note(s.now, s.inductionHash(d, h))
	}
}

func (s *Shard) inductionHash(d *udp.Datagram, h wire.Handshake) uint64 {
	return d.From.Hash(s.sessions.seed ^ uint64(h.SocketID()))
}

// passOnConclusion handles a CONCLUSION of no session whose INDUCTION this shard has not answered.
// It may repeat one that another relay has taken, and that relay then gets it: otherwise the
// backend would have two sessions of one caller. done is false if the handshake is this relay's.
func (s *Shard) passOnConclusion(front uint8, d *udp.Datagram, h wire.Handshake) (c Counter, done bool) {
	if s.lane == nil || s.admission.inductions.Has(s.now, inductionsFor, s.inductionHash(d, h)) {
		return 0, false
	}
	f, local := s.flowOf(&letterbox.Letter{From: d.From, Local: d.Local, Front: front}, h.Packet())
	from, to := d.From, d.Local
	unowned := func(b []byte) { // it has been counted as parked
		_ = s.conclusion(front, &udp.Datagram{Data: b, Stride: len(b), From: from, Local: to}, wire.Handshake(b))
	}
	switch s.lane.PassConclusion(s.now, f, local, h, unowned) {
	case relays.OutcomePassed:
		return CountPassedOn, true
	case relays.OutcomeHeld:
		return CountParked, true
	}
	return 0, false
}

// conclusionFromRelay handles a letter with a CONCLUSION, which all shards get. The shard that
// has taken the first one counts it.
func (s *Shard) conclusionFromRelay(l *letterbox.Letter, p wire.Packet) {
	h := wire.Handshake(p) // Deliver has checked it
	i, ss := s.sessions.byCaller(l.Front, &l.From, h.SocketID())
	if ss == nil || ss.isn != h.ISN() || s.failsHandshakeShield(h) {
		return
	}
	s.counters.inc(CountReceivedFront)
	s.counters.add(CountReceivedFrontBytes, uint64(len(p)))
	s.counters.inc(s.repeatedConclusion(i, ss, h))
}

// deliverConclusion is Deliver for a CONCLUSION.
func (g *Group) deliverConclusion(p letterbox.Posting) Delivery {
	if h, ok := wire.AsHandshake(p.Data); !ok || h.Type() != wire.HandshakeConclusion || !handshake.Valid(h) {
		return NotSession
	}
	for _, s := range g.shards {
		if !s.letterbox.PutFromRelay(p) {
			return NoSpace
		}
	}
	return Delivered
}
