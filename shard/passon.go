package shard

import (
	"time"

	"srtrelay/addr"
	"srtrelay/shard/relays"
	"srtrelay/udp"
	"srtrelay/wire"
)

// passOn handles a datagram that is of no session of this relay: it goes to the relay that
// has the session, if there is one. Datagrams that another relay has passed on do not come
// here, so that none is ever passed on twice.
func (s *Shard) passOn(front uint8, d *udp.Datagram, p wire.Packet) Counter {
	if s.lane == nil {
		return DropForeignCaller
	}
	at := s.fronts[front].sock.Local()
	f := relays.Flow{Caller: d.From, Listener: at.Port(), ID: p.DestID()}
	local := d.Local
	if local == (addr.IP{}) {
		local = addr.FromIP(at.Addr())
	}
	switch s.lane.Pass(s.now, f, local, p) {
	case relays.OutcomePassed, relays.OutcomeHeld:
		return CountPassedOn
	case relays.OutcomeLimited:
		return DropPassLimit
	default:
		return DropForeignCaller
	}
}

// openLane opens the shard's part in passing datagrams on, if the relay does that.
func (s *Shard) openLane() {
	if s.cfg.Relays == nil {
		return
	}
	s.lane = s.cfg.Relays.Lane(func(fn func(now time.Duration)) bool {
		return s.inbox.post(func(s *Shard) { fn(s.now) })
	})
}
