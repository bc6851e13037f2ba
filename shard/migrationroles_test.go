package shard

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"srtrelay/shard/migration"
	"srtrelay/wire"
)

// Without telemetry a publisher moves as fast, and a player after a while in which its old
// address could have answered.
func TestMigrationWithoutTelemetry(t *testing.T) {
	off := func(c *Config) { c.Telemetry = false }
	m := newMover(t, off)
	m.pass(150 * time.Millisecond)
	m.data(m.from)
	m.control(m.from, wire.TypeACKACK, m.challenge(m.from))
	if m.at() != fromConn(m.from) {
		t.Errorf("publisher at %v, counters %v", m.at(), m.nonzero())
	}
	m = newPlayer(t, off)
	m.pass(150 * time.Millisecond)
	m.ack(m.from)
	m.control(m.from, wire.TypeACKACK, m.challenge(m.from))
	for range 40 {
		m.pass(migration.IdlePatience / 30)
	}
	if m.at() != fromConn(m.from) {
		t.Errorf("player at %v, counters %v", m.at(), m.nonzero())
	}
}

// newPlayer is a mover who has got media for a while and acknowledges it.
func newPlayer(t *testing.T, change ...func(*Config)) *mover {
	t.Helper()
	all := append([]func(*Config){func(c *Config) { c.Migration, c.BackendSilence, c.IdleTimeout = true, time.Hour, time.Hour }}, change...)
	m := &mover{rig: newRig(t, all...), seq: callerISN}
	upstream := m.establish(m.caller, callerID, callerISN, backendID)
	m.from = m.dialFront()
	for range 200 {
		m.pass(10 * time.Millisecond)
		b := media(callerID, m.seq, 3<<30|1)
		m.seq++
		m.reply(upstream, b)
		if b, _ := m.receive(m.caller); len(b) != 1332 {
			t.Fatalf("the caller got %d bytes", len(b))
		}
		m.ack(m.caller)
		m.receive(m.backend)
	}
	return m
}

// ack acknowledges all media from a socket.
func (m *mover) ack(c *net.UDPConn) {
	m.t.Helper()
	m.control(c, wire.TypeACK, m.seq, m.seq, 20_000, 1000, 8000, 190, 2000, 250_000)
}

// A player moves by its next ACK. Its challenge is about a position before its first packet, as
// it sends none, and repeats the RTT that it has reported.
func TestPlayerMigrates(t *testing.T) {
	m := newPlayer(t)
	m.pass(150 * time.Millisecond)
	m.ack(m.from)
	b, _ := m.receive(m.from)
	a, ok := wire.AsACK(b)
	if !ok || a.Next != callerISN-1 || a.RTT != 20_000 || a.RTTVar != 1000 {
		t.Fatalf("challenge %+v", a)
	}
	m.control(m.from, wire.TypeACKACK, wire.Packet(b).TypeInfo())
	m.expectNothing(m.backend)
	if m.at() != fromConn(m.from) {
		t.Errorf("at %v, counters %v", m.at(), m.nonzero())
	}
}

// An ACK or NAK about what the player cannot have moves nothing.
func TestPlayerOfOtherNumbers(t *testing.T) {
	for name, send := range map[string]func(*mover){
		"ACK far ahead": func(m *mover) { m.control(m.from, wire.TypeACK, 1, m.seq+1<<20, 1, 1, 1) },
		"ACK cut short": func(m *mover) { m.control(m.from, wire.TypeACK, 1) },
		"NAK far behind": func(m *mover) {
			m.control(m.from, wire.TypeNAK, 0, (m.seq-1<<20)&wire.SequenceMask)
		},
		"NAK of nothing":           func(m *mover) { m.control(m.from, wire.TypeNAK, 0) },
		"NAK of a range cut short": func(m *mover) { m.control(m.from, wire.TypeNAK, 0, 1<<31|m.seq) },
		"NAK of a range that ends before it begins": func(m *mover) {
			m.control(m.from, wire.TypeNAK, 0, 1<<31|m.seq, m.seq-1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newPlayer(t)
			m.pass(150 * time.Millisecond)
			send(m)
			m.expectNothing(m.from)
			if m.count(CountChallenges) != 0 {
				t.Errorf("counters %v", m.nonzero())
			}
		})
	}
}

// A position that a publisher is told in a challenge is behind all that it may have had
// acknowledged, also where sequence numbers wrap.
func TestChallengePositions(t *testing.T) {
	m := newMover(t)
	m.seq = wire.SequenceMask - 3
	for range 200 {
		m.pass(5 * time.Millisecond)
		m.seq &= wire.SequenceMask
		m.data(m.caller)
	}
	m.seq &= wire.SequenceMask
	m.pass(150 * time.Millisecond)
	m.data(m.from)
	b, _ := m.receive(m.from)
	if len(b) != wire.ACKSize {
		t.Fatalf("received %x; counters %v", b, m.nonzero())
	}
	pos := binary.BigEndian.Uint32(b[wire.HeaderSize:])
	if behind := -wire.Ahead(pos, m.seq); behind < migration.PositionsBack/2 || behind > 2*migration.PositionsBack || pos > wire.SequenceMask {
		t.Errorf("position %d is %d behind %d", pos, behind, m.seq)
	}
}

// The caller of a listener for both families goes on by the other one.
func TestMigrationToAnotherFamily(t *testing.T) {
	if c, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		t.Skip("no IPv6 on this host: ", err)
	} else {
		_ = c.Close()
	}
	m := newMover(t, func(c *Config) { c.Listen = []netip.AddrPort{netip.MustParseAddrPort("[::]:0")} })
	six := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv6Loopback(), m.front.Port()))
	c, err := net.DialUDP("udp6", nil, six)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	m.from = c
	m.pass(150 * time.Millisecond)
	m.data(m.from)
	m.control(m.from, wire.TypeACKACK, m.challenge(m.from))
	if ss := m.sessions.at(m.index()); m.at() != fromConn(c) || ss.local.Netip() != netip.IPv6Loopback() {
		t.Errorf("at %v by %v, counters %v", m.at(), ss.local.Netip(), m.nonzero())
	}
	m.data(m.from)
	b, upstream := m.receive(m.backend)
	if len(b) != 1332 {
		t.Fatalf("the backend got %d bytes", len(b))
	}
	m.reply(upstream, packet(callerID, 100))
	if b, _ := m.receive(m.from); len(b) != 100 {
		t.Errorf("the caller got %d bytes", len(b))
	}
}
