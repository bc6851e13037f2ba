package shard

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/shard/limit"
	"srtrelay/shard/migration"
	"srtrelay/streamid"
	"srtrelay/streamid/rules"
	"srtrelay/wire"
)

// mover is a rig with migration on and one publisher, who has sent for a while and may go on from
// another socket.
type mover struct {
	*rig
	seq  uint32
	from *net.UDPConn // his other address
	live *rules.Live
}

// conclusionAt is the timestamp of a rig's CONCLUSION, in microseconds.
const conclusionAt = 500

func newMover(t testing.TB, change ...func(*Config)) *mover {
	t.Helper()
	all := append([]func(*Config){func(c *Config) { c.Migration, c.BackendSilence, c.IdleTimeout = true, time.Hour, time.Hour }}, change...)
	m := &mover{rig: newRig(t, all...), seq: callerISN}
	m.establish(m.caller, callerID, callerISN, backendID)
	m.from = m.dialFront()
	for range 200 {
		m.pass(10 * time.Millisecond)
		m.data(m.caller)
		if b, _ := m.receive(m.backend); len(b) != 1332 {
			t.Fatalf("the backend got %d bytes", len(b))
		}
	}
	return m
}

// stamp sets the timestamp that the caller's clock shows.
func (m *mover) stamp(b []byte) []byte {
	m.now = m.time()
	wire.Packet(b).SetTimestamp(uint32((m.now - m.opened()) / time.Microsecond))
	return b
}

// opened returns when the caller's clock began, by the shard's clock.
func (m *mover) opened() time.Duration {
	return m.sessions.cold(m.index()).opened - conclusionAt*time.Microsecond
}

// index is the place of the only session.
func (m *mover) index() uint32 {
	m.t.Helper()
	found := uint32(indexLimit)
	m.sessions.each(func(i uint32, ss *session) {
		if ss.state == StateEstablished {
			found = i
		}
	})
	if found == indexLimit {
		m.t.Fatal("no session")
	}
	return found
}

// data sends the next data packet from a socket.
func (m *mover) data(c *net.UDPConn) {
	m.t.Helper()
	b := m.stamp(media(backendID, m.seq, 3<<30|m.seq&0xFFFF|1))
	m.seq++
	m.send(c, b)
}

// control sends a control packet from a socket.
func (m *mover) control(c *net.UDPConn, t wire.ControlType, number uint32, words ...uint32) {
	m.t.Helper()
	m.send(c, m.stamp(ackOf(t, backendID, number, words...)))
}

// challenge wants a challenge at a socket and returns its number.
func (m *mover) challenge(c *net.UDPConn) uint32 {
	m.t.Helper()
	b, _ := m.receive(c)
	if len(b) != wire.ACKSize || !wire.Packet(b).Is(wire.TypeACK) || wire.Packet(b).DestID() != callerID {
		m.t.Fatalf("received %x, want a challenge; counters %v", b, m.nonzero())
	}
	return wire.Packet(b).TypeInfo()
}

// at is the caller's address by the relay.
func (m *mover) at() addr.AddrPort { return m.sessions.at(m.index()).caller }

// The caller of a live stream goes on from another address.
func TestMigration(t *testing.T) {
	m := newMover(t)
	was := m.at()
	m.pass(150 * time.Millisecond)
	m.data(m.from)
	number := m.challenge(m.from)
	if old := m.challenge(m.caller); old == number {
		t.Error("both addresses got one number")
	}
	m.data(m.from)
	m.expectNothing(m.backend)
	if m.at() != was || m.count(DropUnvalidated) != 2 {
		t.Fatalf("at %v before it is validated, counters %v", m.at(), m.nonzero())
	}
	consumed := m.count(CountConsumed)
	m.control(m.from, wire.TypeACKACK, number)
	m.expectNothing(m.backend)
	if m.at() != fromConn(m.from) || m.count(CountMigrations) != 1 || m.count(CountConsumed) != consumed+1 {
		t.Fatalf("at %v, want %v; counters %v", m.at(), fromConn(m.from), m.nonzero())
	}
	m.data(m.from)
	if b, upstream := m.receive(m.backend); len(b) != 1332 {
		t.Fatalf("the backend got %d bytes", len(b))
	} else {
		m.reply(upstream, packet(callerID, 100))
	}
	if b, _ := m.receive(m.from); len(b) != 100 {
		t.Errorf("the caller got %d bytes", len(b))
	}
	// A late answer, and what is late from the old address, reach nobody.
	m.control(m.from, wire.TypeACKACK, number)
	m.data(m.caller)
	m.expectNothing(m.backend)
	e := m.lastEvent(EventSessionMigrated)
	if e.Former != was.Netip() || e.Caller != addrOf(m.from) || e.Took < 150*time.Millisecond {
		t.Errorf("event %+v", e)
	}
	var v View
	m.fillView(m.index(), m.sessions.at(m.index()), &v)
	if v.Migrations != 1 || v.Caller != addrOf(m.from) {
		t.Errorf("view: %d migrations, at %v", v.Migrations, v.Caller)
	}
	// Back again, which takes another proof.
	m.pass(150 * time.Millisecond)
	m.data(m.caller)
	m.control(m.caller, wire.TypeACKACK, m.challenge(m.caller))
	if m.at() != was || m.count(CountMigrations) != 2 {
		t.Errorf("at %v, want %v; counters %v", m.at(), was, m.nonzero())
	}
}

// A process that takes over knows what the caller's datagrams look like, and how often he moved.
func TestMigrationOutlivesTakeOver(t *testing.T) {
	m := newMover(t)
	before := *m.sessions.cold(m.index())
	m.takeOver()
	m.settle()
	if after := m.sessions.cold(m.index()); after.trace != before.trace || !m.owner.Owns(0, backendID) {
		t.Errorf("trace %+v, want %+v", after.trace, before.trace)
	}
	for n := range uint32(2) {
		m.pass(150 * time.Millisecond)
		m.data(m.from)
		m.control(m.from, wire.TypeACKACK, m.challenge(m.from))
		m.takeOver()
		m.settle()
		if at := m.at(); at != fromConn(m.from) || m.sessions.cold(m.index()).migrations != uint16(n+1) {
			t.Fatalf("at %v after %d moves", at, m.sessions.cold(m.index()).migrations)
		}
		m.data(m.from)
		if b, _ := m.receive(m.backend); len(b) != 1332 {
			t.Errorf("the backend got %d bytes", len(b))
		}
		m.from = m.dialFront()
	}
}

// When a session has ended nothing is left of its moves.
func TestMigrationLeavesNothing(t *testing.T) {
	m := newMover(t)
	m.pass(150 * time.Millisecond)
	m.data(m.from)
	m.control(m.from, wire.TypeACKACK, m.challenge(m.from))
	m.control(m.from, wire.TypeShutdown, 0)
	m.pass(2 * tombstoneTTL)
	m.wantEmpty()
	if len(m.candidates) != 0 || m.count(CountMigrations) != 1 {
		t.Errorf("%d candidates, counters %v", len(m.candidates), m.nonzero())
	}
	if m.owner.Owns(0, backendID) {
		t.Error("the session has an owner still")
	}
}

// What does not move a session, and that no challenge is sent for it.
func TestMigrationRefused(t *testing.T) {
	quiet := 150 * time.Millisecond
	other := func(change func(b []byte)) func(*mover) {
		return func(m *mover) {
			b := m.stamp(media(backendID, m.seq, 3<<30|1))
			change(b)
			m.pass(quiet)
			m.send(m.from, b)
		}
	}
	late := func(by time.Duration) func([]byte) {
		return func(b []byte) {
			p := wire.Packet(b)
			p.SetTimestamp(p.Timestamp() + uint32((quiet+by)/time.Microsecond))
		}
	}
	for name, act := range map[string]func(*mover){
		"old address not silent": func(m *mover) { m.pass(20 * time.Millisecond); m.data(m.from) },
		"switched off": func(m *mover) {
			m.limits.Migration = false
			m.pass(quiet)
			m.data(m.from)
		},
		"another socket ID":  other(func(b []byte) { wire.Packet(b).SetDestID(backendID + 1) }),
		"sequence far ahead": other(func(b []byte) { b[0] += 1 }),
		"sequence behind":    other(func(b []byte) { b[0], b[1] = 0x7f, 0xf0 }),
		"encrypted":          other(func(b []byte) { b[4] |= 0x08 }),
		"timestamp ahead":    other(late(1100 * time.Millisecond)),
		"timestamp behind":   other(late(-1300 * time.Millisecond)),
		"SHUTDOWN":           func(m *mover) { m.pass(2 * time.Second); m.control(m.from, wire.TypeShutdown, 0) },
		"DROPREQ":            func(m *mover) { m.pass(2 * time.Second); m.control(m.from, wire.TypeDropReq, 1, 1, 2) },
		"handshake": func(m *mover) {
			m.pass(2 * time.Second)
			m.control(m.from, wire.TypeHandshake, 0, make([]uint32, 12)...)
		},
		"keys":               func(m *mover) { m.pass(2 * time.Second); m.control(m.from, wire.TypeUser, 0, make([]uint32, 18)...) },
		"KEEPALIVE too soon": func(m *mover) { m.pass(700 * time.Millisecond); m.control(m.from, wire.TypeKeepalive, 0) },
		"ACKACK of no ACK": func(m *mover) {
			_, upstream := m.upstreamOf()
			m.reply(upstream, ackOf(wire.TypeACK, callerID, 7, callerISN, 50_000, 1000, 8000, 190, 2000, 250_000))
			m.receive(m.caller)
			m.pass(quiet)
			m.control(m.from, wire.TypeACKACK, 1_000_000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMover(t)
			was := m.at()
			act(m)
			m.expectNothing(m.from)
			m.expectNothing(m.backend)
			if m.at() != was || m.count(CountChallenges) != 0 || len(m.candidates) != 0 {
				t.Errorf("at %v, counters %v", m.at(), m.nonzero())
			}
			m.data(m.caller) // goes on
			if b, _ := m.receive(m.backend); len(b) != 1332 {
				t.Errorf("the backend got %d bytes; counters %v", len(b), m.nonzero())
			}
		})
	}
}

// upstreamOf returns the session's upstream address.
func (m *mover) upstreamOf() (*session, netip.AddrPort) {
	ss := m.sessions.at(m.index())
	return ss, m.backs[ss.upstream].sock.Local()
}

// A wrong answer moves nothing, and from the third challenge on nothing more is sent.
func TestChallengesAreFew(t *testing.T) {
	m := newMover(t)
	was := m.at()
	m.pass(150 * time.Millisecond)
	m.data(m.from)
	number := m.challenge(m.from)
	for wrong := range uint32(100) {
		m.control(m.from, wire.TypeACKACK, number^(wrong+1))
	}
	for range 40 {
		m.pass(20 * time.Millisecond)
		m.data(m.from)
	}
	challenges := 0
	for b, _ := m.receive(m.from); b != nil; b, _ = m.receive(m.from) {
		challenges++
	}
	if challenges != migration.ChallengesMost-1 || m.at() != was || m.count(CountMigrations) != 0 {
		t.Errorf("%d more challenges, want %d; at %v", challenges, migration.ChallengesMost-1, m.at())
	}
	m.expectNothing(m.backend)
	m.pass(migration.CandidateLife)
	if len(m.candidates) != 0 {
		t.Error("the candidate was not forgotten")
	}
}

// A short datagram is worth one challenge: three times its length must not be exceeded.
func TestChallengesDoNotAmplify(t *testing.T) {
	m := newMover(t)
	m.pass(2 * time.Second)
	m.control(m.from, wire.TypeKeepalive, 0)
	m.challenge(m.from)
	for range 20 {
		m.pass(20 * time.Millisecond)
	}
	m.expectNothing(m.from)
}

// The old address sends again: the datagrams from the other one were somebody else's.
func TestOldAddressWins(t *testing.T) {
	m := newMover(t)
	was := m.at()
	m.pass(150 * time.Millisecond)
	m.data(m.from)
	number := m.challenge(m.from)
	m.data(m.caller)
	if b, _ := m.receive(m.backend); len(b) != 1332 {
		t.Fatalf("the backend got %d bytes", len(b))
	}
	m.control(m.from, wire.TypeACKACK, number)
	m.expectNothing(m.backend)
	if m.at() != was || m.count(CountMigrations) != 0 || len(m.candidates) != 0 {
		t.Errorf("at %v, counters %v", m.at(), m.nonzero())
	}
}

// The caller of an idle session answers the challenge at its old address: whoever has guessed a
// timestamp, and answers his own challenge, gets nothing. The backend sees none of it.
func TestIdleCallerStays(t *testing.T) {
	m := newMover(t)
	was := m.at()
	m.pass(3 * time.Second)
	m.control(m.from, wire.TypeKeepalive, 0)
	m.control(m.from, wire.TypeACKACK, m.challenge(m.from))
	if m.at() != was {
		t.Fatal("moved at once")
	}
	m.control(m.caller, wire.TypeACKACK, m.challenge(m.caller))
	m.pass(migration.IdlePatience + 2*wheelTick)
	m.expectNothing(m.backend)
	if m.at() != was || m.count(CountMigrations) != 0 || len(m.candidates) != 0 {
		t.Errorf("at %v, counters %v", m.at(), m.nonzero())
	}
}

// The caller of an idle session that does not answer at its old address has moved.
func TestIdleCallerMoves(t *testing.T) {
	m := newMover(t)
	m.pass(3 * time.Second)
	m.control(m.from, wire.TypeKeepalive, 0)
	m.control(m.from, wire.TypeACKACK, m.challenge(m.from))
	for range 30 {
		m.pass(migration.IdlePatience / 25)
	}
	if m.at() != fromConn(m.from) || m.count(CountMigrations) != 1 {
		t.Errorf("at %v, counters %v", m.at(), m.nonzero())
	}
}

// The first datagram from another address says little, as an ACK of gosrt's publishers does. What
// follows proves more, before the answer to the challenge or behind it.
func TestCandidateProvesMore(t *testing.T) {
	for name, before := range map[string]bool{"before the answer": true, "behind it": false} {
		t.Run(name, func(t *testing.T) {
			m := newMover(t)
			m.pass(150 * time.Millisecond)
			m.control(m.from, wire.TypeACK, 1, callerISN)
			number := m.challenge(m.from)
			if before {
				m.data(m.from)
			}
			m.control(m.from, wire.TypeACKACK, number)
			if !before {
				if m.count(CountMigrations) != 0 {
					t.Fatal("an ACK of nothing moves a session at once")
				}
				m.data(m.from)
			}
			if m.at() != fromConn(m.from) || m.count(CountMigrations) != 1 {
				t.Errorf("at %v, counters %v", m.at(), m.nonzero())
			}
		})
	}
}

// A player of gosrt sends one datagram behind its change of address, and then nothing, because it
// gets nothing. It is challenged when its old address has been silent for long enough.
func TestDeferredDatagramMoves(t *testing.T) {
	m := newMover(t)
	m.pass(10 * time.Millisecond)
	m.data(m.from)
	m.expectNothing(m.from)
	if len(m.candidates) != 0 || m.count(CountChallenges) != 0 {
		t.Fatalf("challenged too early: counters %v", m.nonzero())
	}
	for range 10 {
		m.pass(migration.Quiet(0) / 5)
	}
	m.control(m.from, wire.TypeACKACK, m.challenge(m.from))
	if m.at() != fromConn(m.from) || m.count(CountMigrations) != 1 || len(m.deferredAddresses) != 0 {
		t.Errorf("at %v, counters %v", m.at(), m.nonzero())
	}
}

// A forged datagram that comes while the caller sends has nothing sent, then and later.
func TestDeferredDatagramOfAForger(t *testing.T) {
	m := newMover(t)
	for range 40 {
		m.pass(10 * time.Millisecond)
		m.data(m.from)
		m.seq--
		m.data(m.caller)
		m.receive(m.backend)
	}
	for range 10 {
		m.pass(migration.Quiet(0) / 5)
		m.data(m.caller)
		m.receive(m.backend)
	}
	m.expectNothing(m.from)
	m.expectNothing(m.caller)
	if m.count(CountChallenges) != 0 || len(m.candidates)+len(m.deferredAddresses) != 0 {
		t.Errorf("%d deferred addresses, counters %v", len(m.deferredAddresses), m.nonzero())
	}
}

// A player of libsrt that gets nothing at its new address sends a KEEPALIVE after a second, and
// has no media meanwhile. Its old address, which would have acknowledged all the time, gets less
// time to answer than that of an idle caller.
func TestSilentPlayerMoves(t *testing.T) {
	m := newMover(t)
	ss, upstream := m.upstreamOf()
	ss.publisher = false
	flow := func(d time.Duration) {
		for range d / (10 * time.Millisecond) {
			m.pass(10 * time.Millisecond)
			m.reply(upstream, packet(callerID, 100))
		}
	}
	flow(time.Second)
	m.control(m.from, wire.TypeKeepalive, 0)
	m.control(m.from, wire.TypeACKACK, m.challenge(m.from))
	flow(migration.Quiet(0) / 2)
	if m.count(CountMigrations) != 0 {
		t.Fatal("moved at once")
	}
	flow(migration.Quiet(0))
	if m.at() != fromConn(m.from) || m.count(CountMigrations) != 1 {
		t.Errorf("at %v, counters %v", m.at(), m.nonzero())
	}
}

// One address at a time, and forged datagrams from others do not disturb it.
func TestOneCandidate(t *testing.T) {
	m := newMover(t)
	m.pass(150 * time.Millisecond)
	m.data(m.from)
	number := m.challenge(m.from)
	forger := m.dialFront()
	m.data(forger)
	m.control(forger, wire.TypeACKACK, number)
	m.expectNothing(forger)
	m.control(m.from, wire.TypeACKACK, number)
	if m.at() != fromConn(m.from) {
		t.Errorf("at %v, counters %v", m.at(), m.nonzero())
	}
}

// The rules and the limits hold for the new address.
func TestMigrationKeepsRules(t *testing.T) {
	for name, forbid := range map[string]func(*mover){
		"rules": func(m *mover) {
			text := "access:\n  publish:\n    allow: [127.0.0.1]\n"
			set, err := rules.Parse("r.yaml", []byte(text), streamid.Check)
			if err != nil {
				t.Fatal(err)
			}
			m.live.Publish(set)
		},
		"sessions per source": func(m *mover) {
			m.limits.MaxSessionsPerSource = 1
			m.usage.open(5000, addr.FromIP(netip.MustParseAddr("127.0.0.2")))
			m.usage.establish(5000)
		},
		"":                         func(*mover) {},
		"sessions of the same /24": func(m *mover) { m.limits.Subnet.Sessions = 1 },
	} {
		live := new(rules.Live)
		m := newMover(t, func(c *Config) { c.Rules = live })
		m.live = live
		forbid(m)
		m.from = m.dialFrontFrom("127.0.0.2")
		m.pass(150 * time.Millisecond)
		m.data(m.from)
		if name == "rules" || name == "sessions per source" {
			m.expectNothing(m.from)
			continue
		}
		m.control(m.from, wire.TypeACKACK, m.challenge(m.from))
		if one := m.usage.sources.Find(limit.PrefixOf(m.at().IP, limit.LevelSource)); m.at() != fromConn(m.from) || one == nil || one.Sessions != 1 || m.usage.sources.Held() != 2 {
			t.Errorf("at %v, its source %v, %d held", m.at(), one, m.usage.sources.Held())
		}
	}
}

// dialFrontFrom returns another caller's socket with an IP address.
func (r *rig) dialFrontFrom(ip string) *net.UDPConn {
	r.t.Helper()
	local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 0))
	c, err := net.DialUDP("udp4", local, net.UDPAddrFromAddrPort(r.front))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// A forger who does not answer keeps the caller out for a round trip only.
func TestForgerHoldsShortly(t *testing.T) {
	m := newMover(t)
	forger := m.dialFront()
	m.pass(150 * time.Millisecond)
	m.data(forger)
	m.data(m.from)
	m.expectNothing(m.from)
	m.pass(migration.Quiet(0))
	m.data(m.from)
	m.control(m.from, wire.TypeACKACK, m.challenge(m.from))
	if m.at() != fromConn(m.from) {
		t.Errorf("at %v, counters %v", m.at(), m.nonzero())
	}
}

// A player far away, whose old address gets the longest time to answer, moves when that is over.
func TestPlayerFarAwayMoves(t *testing.T) {
	m := newMover(t)
	ss, upstream := m.upstreamOf()
	ss.publisher = false
	flow := func(d time.Duration) {
		for range d / (10 * time.Millisecond) {
			m.pass(10 * time.Millisecond)
			m.reply(upstream, packet(callerID, 100))
		}
	}
	flow(100 * time.Millisecond)
	m.control(m.caller, wire.TypeACK, 7, callerISN, 600_000, 50_000, 8192, 0, 0, 0)
	if rtt := m.callerRTT(ss); rtt != 600*time.Millisecond {
		t.Fatalf("an RTT of %v", rtt)
	}
	flow(1100 * time.Millisecond)
	m.control(m.from, wire.TypeKeepalive, 0)
	number := m.challenge(m.from)
	flow(600 * time.Millisecond)
	m.control(m.from, wire.TypeACKACK, number)
	flow(600 * time.Millisecond)
	if m.at() != fromConn(m.from) || m.count(CountMigrations) != 1 {
		t.Errorf("at %v, counters %v", m.at(), m.nonzero())
	}
}

// Without telemetry the trace alone tells which data packet is next, also when those before it
// have passed in the kernel.
func TestMigrationAfterKernelWithoutTelemetry(t *testing.T) {
	if sweepEvery != migration.PassEvery {
		t.Errorf("the sweep notes datagrams of the kernel path every %v, the trace assumes %v", sweepEvery, migration.PassEvery)
	}
	m := newMover(t, func(c *Config) { c.Telemetry = false })
	ss := m.sessions.at(m.index())
	for range 10 {
		m.pass(time.Second)
		ss.toBackend.Packets += 20_000
		m.seq += 20_000
		ss.callerSeen = m.now
		m.sessions.cold(m.index()).trace.Pass(ss.callerSeen, ss.toBackend.Packets) // as refresh does
	}
	m.pass(150 * time.Millisecond)
	m.data(m.from)
	m.control(m.from, wire.TypeACKACK, m.challenge(m.from))
	m.pass(migration.IdlePatience + 2*wheelTick)
	if m.at() != fromConn(m.from) {
		t.Errorf("at %v, counters %v", m.at(), m.nonzero())
	}
}
