package shard

import (
	"math"
	"time"

	"srtrelay/addr"
	"srtrelay/shard/letterbox"
	"srtrelay/shard/owners"
	"srtrelay/shard/relays"
	"srtrelay/udp"
	"srtrelay/wire"
)

// Datagrams of sessions that are elsewhere: of another shard, which gets them as letters, or of
// another relay.

// toOwner handles a datagram that matches no session of this shard. If it is about a session of
// another one, that shard gets it as a letter. A session of this relay may have the socket ID of
// one of another relay, as backends choose their IDs by themselves: what is not of the one here is
// passed on.
func (s *Shard) toOwner(front uint8, d *udp.Datagram, p wire.Packet) Counter {
	l := letterbox.Letter{From: d.From, Local: d.Local, Sender: int16(s.id), Front: front}
	at, unique := s.owners.Find(front, p.DestID())
	switch {
	case !unique || at.Shard >= len(s.group):
		return s.passOn(&l, p)
	case at.Shard != s.id && s.routes.Has(s.now, front, &d.From, p.DestID()):
		return s.handOver(at.Shard, l, p)
	case s.isOtherRelays(&l, p) || !s.migrationLimiter.Allow(s.now, p):
		return s.passOn(&l, p)
	case at.Shard != s.id:
		return s.handOver(at.Shard, l, p)
	}
	return s.fromElsewhere(at.Index, &l, p)
}

// handOver hands a datagram to the shard that owns its session, which counts it as received, and
// its fate: every datagram is counted once, by the shard that decides what becomes of it. It is
// counted here only if that shard has no space for it.
func (s *Shard) handOver(to int, l letterbox.Letter, p wire.Packet) Counter {
	s.counters.local[CountReceivedFront]--
	s.counters.local[CountReceivedFrontBytes] -= uint64(len(p))
	s.outgoing = append(s.outgoing, letterbox.Posting{To: to, Letter: l, Data: p})
	return CountLetters
}

// sendLetters puts what handOver has kept into the letterboxes, with one lock for those in a
// row that go to one shard.
func (s *Shard) sendLetters() {
	for rest := s.outgoing; len(rest) > 0; {
		to, n := rest[0].To, 1
		for n < len(rest) && rest[n].To == to {
			n++
		}
		for _, refused := range s.group[to].letterbox.Put(rest[:n]) {
			s.notTaken(refused.Data)
		}
		rest = rest[n:]
	}
	clear(s.outgoing) // they refer to the batch
	s.outgoing = s.outgoing[:0]
}

// notTaken counts a letter for which there was no space.
func (s *Shard) notTaken(data []byte) {
	s.counters.local[CountLetters]--
	s.counters.inc(CountReceivedFront)
	s.counters.add(CountReceivedFrontBytes, uint64(len(data)))
	s.counters.inc(DropLetters)
}

// readLetters handles the letters that have come, and reports whether there were any.
func (s *Shard) readLetters() bool {
	batch, any := s.letterbox.Drain(s.letters)
	if !any {
		return false
	}
	for l, p := range batch.All() {
		if wire.Packet(p).DestID() == 0 {
			s.conclusionFromRelay(l, p)
			continue
		}
		s.counters.inc(CountReceivedFront)
		s.counters.add(CountReceivedFrontBytes, uint64(len(p)))
		s.counters.inc(s.fromLetter(l, p))
	}
	s.flush()
	s.letters = batch.Emptied()
	return batch.Len() > 0
}

// fromLetter handles one letter and returns its fate. It is never handed on again.
func (s *Shard) fromLetter(l *letterbox.Letter, p wire.Packet) Counter {
	if i, ss := s.sessions.byFront(l.Front, &l.From, p.DestID()); ss != nil {
		s.announce(i, ss, l)
		return s.toBackend(i, ss, p)
	}
	at, unique := s.owners.Find(l.Front, p.DestID())
	if !unique || at.Shard != s.id {
		return DropForeignCaller
	}
	return s.fromElsewhere(at.Index, l, p)
}

// closeLetters counts the letters that come too late.
func (s *Shard) closeLetters() {
	left := s.letterbox.Close()
	s.counters.add(CountReceivedFront, uint64(left.Len()))
	s.counters.add(CountReceivedFrontBytes, uint64(left.Bytes()))
	s.counters.add(DropClosed, uint64(left.Len()))
}

// Delivery says what became of a datagram that another relay has passed on.
type Delivery uint8

// What Deliver returns.
const (
	Delivered  Delivery = iota // its session is here, or was moments ago
	NoSession                  // no session of this relay has its socket ID, or more than one has
	NoSpace                    // the shard has too many letters waiting
	NotSession                 // it is for a listener and no CONCLUSION, or no SRT datagram
)

// Deliver hands a datagram that another relay has received to the shard that owns its session:
// as if the kernel had given it to that shard. front is an index of Fronts, caller its sender,
// local the address that it was sent to; zero if the listener is bound to one. Datagrams of one
// caller must come from one goroutine to stay in order. Any goroutine may call it; it never
// waits, and copies data.
//
// A datagram for a listener must be a CONCLUSION. All shards get it, as the kernel may have given
// the first one to any.
func (g *Group) Deliver(front int, caller addr.AddrPort, local addr.IP, data []byte) Delivery {
	p := wire.Packet(data)
	if len(data) < wire.HeaderSize || len(data) > math.MaxUint16 || front < 0 || front >= len(g.fronts) {
		return NotSession
	}
	l := letterbox.Letter{From: caller, Local: local, Sender: letterbox.OtherRelay, Front: uint8(front)}
	if p.DestID() == 0 {
		return g.deliverConclusion(letterbox.Posting{Letter: l, Data: data})
	}
	at, unique := g.owners.Find(uint8(front), p.DestID())
	if !unique || at.Shard >= len(g.shards) {
		return NoSession
	}
	if !g.shards[at.Shard].letterbox.PutFromRelay(letterbox.Posting{Letter: l, Data: data}) {
		return NoSpace
	}
	return Delivered
}

// Owns reports whether exactly one session of a listener has a backend's socket ID. The answer
// is a hint: see owners.Owners.
func (g *Group) Owns(front int, backendID uint32) bool {
	_, unique := g.owners.Find(uint8(front), backendID)
	return unique
}

// own enters an established session among the owners, disown removes it. The caller of a session
// that finds no place there cannot move.
func (s *Shard) own(i uint32, ss *session) {
	_ = s.owners.Enter(ss.front, ss.backendID, owners.Place{Shard: s.id, Index: i})
}

func (s *Shard) disown(i uint32, ss *session) {
	s.owners.Remove(ss.front, ss.backendID, owners.Place{Shard: s.id, Index: i})
}

// announced is what a session's owner has told another shard.
type announced struct {
	shard int16
	at    time.Duration
}

// announce tells the shard that a letter came from that its sender is the caller of a session.
func (s *Shard) announce(i uint32, ss *session, l *letterbox.Letter) {
	if l.Sender < 0 || int(l.Sender) == s.id || ss.state != StateEstablished {
		return
	}
	if a, ok := s.announced[i]; ok && a.shard == l.Sender && s.now-a.at < owners.RouteEvery {
		return
	}
	front, caller, id := ss.front, ss.caller, ss.backendID
	posted := s.group[l.Sender].inbox.post(func(s *Shard) {
		s.routes.Add(s.now, front, &caller, id)
	})
	if posted {
		s.announced[i] = announced{l.Sender, s.now}
	}
}

// passOn handles a datagram that is of no session of this relay: it goes to the relay that
// has the session, if there is one. One that another relay has passed on is dropped, so that none
// is ever passed on twice.
func (s *Shard) passOn(l *letterbox.Letter, p wire.Packet) Counter {
	if s.lane == nil || l.Sender == letterbox.OtherRelay {
		return DropForeignCaller
	}
	f, local := s.flowOf(l, p)
	switch s.lane.Pass(s.now, f, local, p) {
	case relays.OutcomePassed, relays.OutcomeHeld:
		return CountPassedOn
	case relays.OutcomeLimited:
		return DropPassLimit
	default:
		return DropForeignCaller
	}
}

// isOtherRelays reports whether another relay is known to have the session of a datagram's caller.
func (s *Shard) isOtherRelays(l *letterbox.Letter, p wire.Packet) bool {
	if s.lane == nil {
		return false
	}
	f, _ := s.flowOf(l, p)
	return s.lane.HasOwner(f)
}

// flowOf returns the flow of a datagram, and the address that its caller dialled.
func (s *Shard) flowOf(l *letterbox.Letter, p wire.Packet) (f relays.Flow, local addr.IP) {
	at := s.fronts[l.Front].sock.Local()
	if local = l.Local; local == (addr.IP{}) {
		local = addr.FromIP(at.Addr())
	}
	return relays.Flow{Caller: l.From, Listener: at.Port(), ID: p.DestID()}, local
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
