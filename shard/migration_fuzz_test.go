package shard

import (
	"encoding/binary"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/shard/migration"
	"srtrelay/wire"
)

// Whatever comes from another address: nothing is forwarded, nothing moves, and what is sent there
// is at most three times what came.
func FuzzOtherAddress(f *testing.F) {
	f.Add([]byte{0, 0, 5, 0}, uint16(1500))
	f.Add(ackOf(wire.TypeACK, backendID, 1, callerISN, 1, 2), uint16(100))
	f.Add(ackOf(wire.TypeNAK, backendID, 0, 1<<31|5), uint16(100))
	f.Add(ackOf(wire.TypeNAK, backendID, 0), uint16(900))
	f.Add(ackOf(wire.TypeACKACK, backendID, 1), uint16(150))
	f.Add(ackOf(wire.TypeKeepalive, backendID, 1), uint16(2000))
	f.Add(ackOf(wire.TypeShutdown, backendID, 1), uint16(2000))
	f.Add(media(backendID, callerISN+201, 3<<30|7), uint16(150))
	m := newMover(f)
	m.limits.IdleTimeout, m.limits.BackendSilence = 1<<60, 1<<60
	was := m.at()
	forwarded := m.count(CountForwardedToBackend)
	f.Fuzz(func(t *testing.T, b []byte, silent uint16) {
		m.t = t
		if len(b) < wire.HeaderSize {
			b = append(b, make([]byte, wire.HeaderSize-len(b))...)
		}
		b = b[:min(len(b), 1400):min(len(b), 1400)]
		wire.Packet(b).SetDestID(backendID)
		m.pass(time.Duration(silent%3000) * time.Millisecond)
		m.stamp(b)
		m.send(m.from, b)
		sent := 0
		for c := m.from; ; {
			got, _ := m.receiveNow(c, make([]byte, 2048))
			if got == nil {
				break
			}
			sent += len(got) + 28
		}
		if sent > migration.Amplification*(len(b)+28) {
			t.Errorf("%d bytes sent for %d", sent, len(b)+28)
		}
		if m.at() != was || m.count(CountForwardedToBackend) != forwarded || m.count(CountMigrations) != 0 {
			t.Fatalf("at %v, counters %v", m.at(), m.nonzero())
		}
	})
}

// Whatever another relay passes on: what is not from the session's caller reaches nobody, and
// each has one fate.
func FuzzDeliver(f *testing.F) {
	f.Add(0, []byte{127, 0, 0, 1}, uint16(9), media(backendID, callerISN+201, 3<<30|7))
	f.Add(0, []byte{}, uint16(0), ackOf(wire.TypeShutdown, backendID, 1))
	f.Add(0, []byte{0xfe, 0x80, 15: 1}, uint16(1), ackOf(wire.TypeNAK, backendID, 0))
	f.Add(1, []byte{10, 0, 0, 1}, uint16(1), ackOf(wire.TypeKeepalive, 0, 1))
	f.Add(-1, []byte{1}, uint16(1), []byte{1, 2, 3})
	m := newMover(f)
	m.limits.IdleTimeout, m.limits.BackendSilence = 1<<60, 1<<60
	was := m.at()
	forwarded := m.count(CountForwardedToBackend)
	f.Fuzz(func(t *testing.T, front int, ip []byte, port uint16, b []byte) {
		m.t = t
		from := addr.AddrPort{Port: port}
		if copy(from.IP[:], ip) == 4 {
			from.IP = addr.IP{10: 0xff, 11: 0xff, 12: ip[0], 13: ip[1], 14: ip[2], 15: ip[3]}
		}
		if from == was {
			return
		}
		b = append([]byte(nil), b...)
		if len(b) >= wire.HeaderSize && binary.BigEndian.Uint32(b[12:])%2 == 0 {
			wire.Packet(b).SetDestID(backendID)
		}
		received := m.count(CountReceivedFront)
		got := m.owner.Deliver(front, from, from.IP, b)
		m.settle()
		if n := m.count(CountReceivedFront) - received; (n == 1) != (got == Delivered) || n > 1 {
			t.Errorf("outcome %d, and %d received", got, n)
		}
		if got == Delivered && front != 0 {
			t.Error("delivered to a session of another listener")
		}
		if m.at() != was || m.count(CountForwardedToBackend) != forwarded || m.count(CountMigrations) != 0 {
			t.Fatalf("at %v, counters %v", m.at(), m.nonzero())
		}
	})
}
