package shard

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/shard/letterbox"
	"srtrelay/shard/migration"
	"srtrelay/shard/owners"
	"srtrelay/udp"
	"srtrelay/wire"
)

// shardPair is a rig of two shards, whose session is on the first one. The kernel gives the
// datagrams of its caller's other socket to the second one.
type shardPair struct {
	*mover
	second *Shard
}

func newShardPair(t testing.TB, change ...func(*Config)) *shardPair {
	t.Helper()
	all := append([]func(*Config){func(c *Config) {
		c.Shards, c.Migration, c.BackendSilence, c.IdleTimeout = 2, true, time.Hour, time.Hour
	}}, change...)
	p := &shardPair{mover: &mover{rig: newRig(t, all...), seq: callerISN}}
	p.second = p.owner.shards[1]
	p.caller, p.from = p.dialTo(p.Shard), p.dialTo(p.second)
	p.establish(p.caller, callerID, callerISN, backendID)
	for range 200 {
		p.passBoth(10 * time.Millisecond)
		p.data(p.caller)
		if b, _ := p.receive(p.backend); len(b) != 1332 {
			t.Fatalf("the backend got %d bytes", len(b))
		}
	}
	return p
}

// dialTo returns a socket whose datagrams the kernel gives to a shard.
func (p *shardPair) dialTo(s *Shard) *net.UDPConn {
	p.t.Helper()
	for range 64 {
		c := p.dialFront()
		before := s.counters.Read(0).Values[CountReceivedFront]
		must(p.t, c, packet(0xDEAD, 100))
		p.settleBoth()
		if s.counters.Read(0).Values[CountReceivedFront] > before {
			return c
		}
	}
	p.t.Fatal("no socket for that shard")
	return nil
}

func (p *shardPair) settleBoth() {
	p.t.Helper()
	for idle := 0; idle < 3; idle++ {
		for _, s := range []*Shard{p.second, p.Shard} {
			s.eachEndpoint(func(l *endpoint, _ int) { l.readable = true })
			if p.turnOf(s) {
				idle = 0
			}
		}
	}
}

func (p *shardPair) passBoth(d time.Duration) {
	p.second.origin, p.second.originAt = p.second.origin.Add(-d), p.second.originAt-d
	p.elapse(d)
	p.settleBoth()
}

// write sends from the other socket and lets both shards work.
func (p *shardPair) write(b []byte) {
	p.t.Helper()
	must(p.t, p.from, b)
	p.settleBoth()
}

func (p *shardPair) next() []byte {
	b := p.stamp(media(backendID, p.seq, 3<<30|p.seq&0xFFFF|1))
	p.seq++
	return b
}

// move has the caller go on from the other socket.
func (p *shardPair) move() {
	p.t.Helper()
	p.passBoth(150 * time.Millisecond)
	p.write(p.next())
	p.write(p.stamp(ackOf(wire.TypeACKACK, backendID, p.challenge(p.from))))
	if p.at() != fromConn(p.from) {
		p.t.Fatalf("at %v; counters %v and %v", p.at(), p.nonzero(), nonzeroOf(p.second))
	}
}

func nonzeroOf(s *Shard) map[string]uint64 { return (&rig{Shard: s}).nonzero() }

// wantLaw checks that every datagram has one fate in each shard.
func (p *shardPair) wantLaw() {
	p.t.Helper()
	for _, s := range []*Shard{p.Shard, p.second} {
		v := s.counters.Read(0).Values
		fates := v[CountForwardedToBackend] + v[CountForwardedToCaller] + v[CountAnswered] + v[CountParked] + v[CountConsumed]
		for k := range NumCounters {
			if k.IsDrop() {
				fates += v[k]
			}
		}
		if received := v[CountReceivedFront] + v[CountReceivedBack]; received != fates {
			p.t.Errorf("shard %d: %d received, %d fates: %v", s.id, received, fates, nonzeroOf(s))
		}
	}
}

// The datagrams from the new address come to another shard, which hands them to the owner of the
// session: in order, and without a limit once they are its caller's.
func TestMigrationToAnotherShard(t *testing.T) {
	p := newShardPair(t)
	p.move()
	const many = 3 * migration.LimiterPerID
	for range many {
		p.passBoth(time.Millisecond / 2)
		want := p.seq
		p.write(p.next())
		b, _ := p.receive(p.backend)
		if len(b) != 1332 || binary.BigEndian.Uint32(b) != want {
			t.Fatalf("the backend got %x, want packet %d; counters %v", b[:min(len(b), 16)], want, p.nonzero())
		}
	}
	if n := p.second.counters.Read(0).Values[CountLetters]; n != many+2 {
		t.Errorf("%d letters, want %d", n, many+2)
	}
	p.wantLaw()
	// SHUTDOWN from there ends it, and nothing is left, also if a datagram is right behind it.
	p.passBoth(owners.RouteEvery)
	last := p.next()
	must(t, p.from, p.stamp(ackOf(wire.TypeShutdown, backendID, 0)))
	p.write(last)
	p.passBoth(2 * tombstoneTTL)
	p.wantEmpty()
	if len(p.announced) != 0 || p.owner.Owns(0, backendID) {
		t.Error("the session is announced, or has an owner still")
	}
	p.wantLaw()
}

// Forged datagrams that come to another shard cost the owner no more than the budget, leave the
// session where it is, and a caller who moves meanwhile comes through.
func TestFloodFromOtherAddresses(t *testing.T) {
	p := newShardPair(t)
	was := p.at()
	forger := p.dialTo(p.second)
	before, began := p.count(CountReceivedFront), p.second.now
	for k := range uint32(5000) {
		b := packet(backendID, 40)
		binary.BigEndian.PutUint32(b, k*7919)
		must(t, forger, b)
		if k%32 == 31 {
			p.settleBoth()
		}
	}
	p.settleBoth()
	looked, most := p.count(CountReceivedFront)-before, migration.LimiterPerID*(2+(p.second.now-began)/migration.LimiterPeriod)
	if looked == 0 || looked > uint64(most) {
		t.Errorf("the owner looked at %d of 5000, want %d at most", looked, most)
	}
	if p.at() != was || p.count(CountMigrations) != 0 || p.count(CountForwardedToBackend) != 200 {
		t.Errorf("counters %v", p.nonzero())
	}
	p.wantLaw()
	p.passBoth(migration.LimiterPeriod)
	p.move()
	p.wantLaw()
}

// An owner that takes no letters, as it has too many, loses datagrams, and counts them.
func TestLettersAreBounded(t *testing.T) {
	p := newShardPair(t)
	p.move()
	s := p.second
	before, held := s.count(), 0
	for range 2 * letterbox.Limit {
		s.outgoing = append(s.outgoing, letterbox.Posting{To: 0, Letter: letterbox.Letter{From: p.at()}, Data: p.next()})
		s.counters.inc(CountLetters)
		if held++; held == 64 {
			s.flush()
			held = 0
		}
	}
	s.flush()
	s.counters.publish()
	if n := s.count() - before; n != letterbox.Limit {
		t.Errorf("%d dropped, want %d", n, letterbox.Limit)
	}
	p.settleBoth()
	p.wantLaw()
}

func (s *Shard) count() uint64 { return s.counters.Read(0).Values[DropLetters] }

// A datagram by letter costs no allocation, once all have their space.
func TestLettersDoNotAllocate(t *testing.T) {
	p := newShardPair(t, func(c *Config) { c.Sockets = udp.Options{} })
	p.move()
	in := make([]byte, 2048)
	b := p.next()
	round := func() {
		for range 4 {
			binary.BigEndian.PutUint32(b, p.seq)
			p.seq++
			must(t, p.from, b)
		}
		for _, s := range []*Shard{p.second, p.Shard} {
			s.eachEndpoint(func(l *endpoint, _ int) { l.readable = true })
			p.turnOf(s)
		}
		for range 4 {
			if _, _, err := p.backend.ReadFromUDPAddrPort(in); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 20 {
		round()
	}
	if n := testing.AllocsPerRun(200, round); n != 0 {
		t.Errorf("%v allocations for four letters", n)
	}
}

// A datagram that another relay has received reaches its session, and is counted once.
func TestDeliver(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	from := fromConn(r.caller)
	deliver := func(front int, caller addr.AddrPort, b []byte, want Delivery) {
		t.Helper()
		if got := r.owner.Deliver(front, caller, addr.IP{}, b); got != want {
			t.Errorf("Deliver: %v, want %v", got, want)
		}
		r.settle()
	}
	received, forwarded := r.count(CountReceivedFront), r.count(CountForwardedToBackend)
	deliver(0, from, packet(backendID, 1332), Delivered)
	if got, _ := r.receive(r.backend); len(got) != 1332 {
		t.Errorf("the backend got %d bytes", len(got))
	}
	deliver(0, from, packet(backendID+1, 100), NoSession)
	deliver(1, from, packet(backendID, 100), NotSession)
	deliver(0, from, packet(0, 100), NotSession)
	deliver(0, from, packet(backendID, 100)[:15], NotSession)
	if n, m := r.count(CountReceivedFront)-received, r.count(CountForwardedToBackend)-forwarded; n != 1 || m != 1 {
		t.Errorf("%d received and %d forwarded, want 1 and 1", n, m)
	}
	if !r.owner.Owns(0, backendID) || r.owner.Owns(0, backendID+1) {
		t.Error("Owns is wrong")
	}
}
