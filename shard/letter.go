package shard

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"srtrelay/addr"
	"srtrelay/shard/owners"
	"srtrelay/udp"
	"srtrelay/wire"
)

// A letter is a datagram from a caller that another goroutine hands to the loop of the shard
// that owns its session: another shard, which the kernel's flow hash chose for it, or the
// receiver of what another relay passes on. The owner counts it as received, and its fate:
// every datagram is counted once, by the shard that decides what becomes of it.
type letter struct {
	from   addr.AddrPort
	local  addr.IP
	end    int // of its bytes in the letterbox; they begin where the letter before ends
	sender int16
	front  uint8
}

// fromOtherRelay is the sender of a letter that came from another relay.
const fromOtherRelay = -1

const (
	// letterLimit and letterBytes bound what waits in a letterbox: what a shard receives
	// in 100 ms of 500 Mbit/s.
	letterLimit = 4096
	letterBytes = 6 << 20
	// deliverLimit is the part of both for other relays: a flood from them leaves the rest
	// for the other shards.
	deliverLimit = 2 // half
	// keptLetterBytes is the memory that an empty letterbox keeps.
	keptLetterBytes = 256 << 10
)

// letterbox is a bounded queue of letters to one shard. Those of one sender stay in order.
type letterbox struct {
	hasLetters atomic.Bool
	mu         sync.Mutex
	batch      letterBatch
	wake       func()
	closed     bool
}

// letterBatch is letters with their bytes, one after the other.
type letterBatch struct {
	letters []letter
	bytes   []byte
}

// put queues a copy of a datagram; divisor is the part of the space that it may use. The
// mutex must be held, and raise called when it no longer is.
func (b *letterbox) put(l letter, data []byte, divisor int) bool {
	t := &b.batch
	if b.closed || len(t.letters) >= letterLimit/divisor || len(t.bytes)+len(data) > letterBytes/divisor {
		return false
	}
	t.bytes = append(t.bytes, data...)
	l.end = len(t.bytes)
	t.letters = append(t.letters, l)
	return true
}

// raise wakes the loop, unless it has been woken since it took letters.
func (b *letterbox) raise() {
	if !b.hasLetters.Swap(true) {
		b.wake()
	}
}

// drain returns what has been put, in exchange for an empty batch. Loop only.
func (b *letterbox) drain(empty letterBatch) (letterBatch, bool) {
	if !b.hasLetters.Load() {
		return empty, false
	}
	b.hasLetters.Store(false) // before the lock: a letter that comes later raises it again
	b.mu.Lock()
	defer b.mu.Unlock()
	full := b.batch
	b.batch = empty
	return full, true
}

// close has the letterbox refuse letters, and returns how many were not taken.
func (b *letterbox) close() letterBatch {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	left := b.batch
	b.batch = letterBatch{}
	return left
}

// emptied returns the batch without letters, and without memory that a burst has left.
func (t letterBatch) emptied() letterBatch {
	if cap(t.bytes) > keptLetterBytes {
		t.bytes = nil
	}
	return letterBatch{t.letters[:0], t.bytes[:0]}
}

// outgoing is a datagram of the batch for another shard, until the batch is flushed.
type outgoing struct {
	to     int
	letter letter
	data   []byte
}

// handOver hands a datagram to the shard that owns its session. It is not counted as received
// here, unless that shard has no space for it.
func (s *Shard) handOver(to int, front uint8, d *udp.Datagram, p wire.Packet) Counter {
	s.counters.local[CountReceivedFront]--
	s.counters.local[CountReceivedFrontBytes] -= uint64(len(p))
	s.outgoing = append(s.outgoing, outgoing{
		to: to, letter: letter{from: d.From, local: d.Local, sender: int16(s.id), front: front}, data: p,
	})
	return CountLetters
}

// sendLetters puts what handOver has kept into the letterboxes, with one lock for those in a
// row that go to one shard.
func (s *Shard) sendLetters() {
	for rest := s.outgoing; len(rest) > 0; {
		to, n := rest[0].to, 1
		for n < len(rest) && rest[n].to == to {
			n++
		}
		box := &s.group[to].letterbox
		box.mu.Lock()
		for _, o := range rest[:n] {
			if !box.put(o.letter, o.data, 1) {
				s.notTaken(o.data)
			}
		}
		box.mu.Unlock()
		box.raise()
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
	batch, any := s.letterbox.drain(s.letters)
	if !any {
		return false
	}
	start := 0
	for k := range batch.letters {
		l := &batch.letters[k]
		p := batch.bytes[start:l.end:l.end]
		start = l.end
		s.counters.inc(CountReceivedFront)
		s.counters.add(CountReceivedFrontBytes, uint64(len(p)))
		s.counters.inc(s.fromLetter(l, p))
	}
	s.flush()
	s.letters = batch.emptied()
	return len(batch.letters) > 0
}

// closeLetters counts the letters that come too late.
func (s *Shard) closeLetters() {
	left := s.letterbox.close()
	s.counters.add(CountReceivedFront, uint64(len(left.letters)))
	s.counters.add(CountReceivedFrontBytes, uint64(len(left.bytes)))
	s.counters.add(DropClosed, uint64(len(left.letters)))
}

// Delivery says what became of a datagram that another relay has passed on.
type Delivery uint8

// What Deliver returns.
const (
	Delivered  Delivery = iota // its session is here, or was moments ago
	NoSession                  // no session of this relay has its socket ID, or more than one has
	NoSpace                    // the shard has too many letters waiting
	NotSession                 // it is for a listener, or no SRT datagram
)

// Deliver hands a datagram that another relay has received to the shard that owns its session:
// as if the kernel had given it to that shard. front is an index of Fronts, caller its sender,
// local the address that it was sent to; zero if the listener is bound to one. Datagrams of one
// caller must come from one goroutine to stay in order. Any goroutine may call it; it never
// waits, and copies data.
func (g *Group) Deliver(front int, caller addr.AddrPort, local addr.IP, data []byte) Delivery {
	p := wire.Packet(data)
	if len(data) < wire.HeaderSize || len(data) > math.MaxUint16 || front < 0 || front >= len(g.fronts) || p.DestID() == 0 {
		return NotSession
	}
	at, unique := g.owners.Find(uint8(front), p.DestID())
	if !unique || at.Shard >= len(g.shards) {
		return NoSession
	}
	box := &g.shards[at.Shard].letterbox
	box.mu.Lock()
	taken := box.put(letter{from: caller, local: local, sender: fromOtherRelay, front: uint8(front)}, data, deliverLimit)
	box.mu.Unlock()
	if !taken {
		return NoSpace
	}
	box.raise()
	return Delivered
}

// Owns reports whether exactly one session of a listener has a backend's socket ID. The answer
// is a hint: see owners.Owners.
func (g *Group) Owns(front int, backendID uint32) bool {
	_, unique := g.owners.Find(uint8(front), backendID)
	return unique
}

// own enters an established session among the owners, disown removes it.
func (s *Shard) own(i uint32, ss *session) {
	s.sessions.cold(i).owned = s.owners.Enter(ss.front, ss.backendID, owners.Place{Shard: s.id, Index: i})
}

func (s *Shard) disown(i uint32, ss *session) {
	if cold := s.sessions.cold(i); cold.owned {
		cold.owned = false
		s.owners.Remove(ss.front, ss.backendID, owners.Place{Shard: s.id, Index: i})
	}
}

// announced is what a session's owner has told another shard.
type announced struct {
	shard int16
	at    time.Duration
}

// announce tells the shard that a letter came from that its sender is the caller of a session.
func (s *Shard) announce(i uint32, ss *session, l *letter) {
	if l.sender < 0 || int(l.sender) == s.id || ss.state != StateEstablished {
		return
	}
	if a, told := s.announced[i]; told && a.shard == l.sender && s.now-a.at < owners.RouteEvery {
		return
	}
	front, caller, id := ss.front, ss.caller, ss.backendID
	told := s.group[l.sender].inbox.post(func(s *Shard) {
		s.routes.Add(s.now, front, &caller, id)
	})
	if told {
		s.announced[i] = announced{l.sender, s.now}
	}
}
