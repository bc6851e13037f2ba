//go:build linux

package e2e

import (
	"math/rand/v2"
	"net"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// victim is a running session as an attacker may know it.
type victim struct {
	s    *srttest.Session
	conn *srttest.Connection
	// What there was before the attack.
	seen     srttest.Seen
	arrivals int
}

// forge makes hostile datagrams, the same ones for the same seed and victims.
type forge struct {
	*rand.Rand
	noises  []byte // random bytes to take from
	victims []victim
	longest int // bytes of a datagram of noise
}

func newForge(seed byte, longest int) forge {
	source := rand.NewChaCha8([32]byte{seed})
	f := forge{Rand: rand.New(source), noises: make([]byte, 1<<20), longest: longest}
	_, _ = source.Read(f.noises) // never fails
	return f
}

func (f *forge) bytes(n int) []byte {
	at := f.IntN(len(f.noises) - n)
	return append([]byte(nil), f.noises[at:at+n]...)
}

func (f *forge) victim() victim { return f.victims[f.IntN(len(f.victims))] }

// noise is random bytes of any length, none included.
func (f *forge) noise() []byte { return f.bytes(f.IntN(f.longest + 1)) }

// id is a socket ID that is nobody's, a victim's in either direction, or 0.
func (f *forge) id() uint32 {
	switch f.IntN(5) {
	case 0:
		return 0
	case 1:
		return f.victim().conn.ID
	case 2:
		return f.victim().s.ID()
	}
	return f.Uint32() | 1
}

// data is a data packet.
func (f *forge) data() []byte {
	b := f.bytes(wire.HeaderSize + f.IntN(wire.MaxPayload))
	b[0] &= 0x7F
	wire.Packet(b).SetDestID(f.id())
	return b
}

var controlTypes = []wire.ControlType{
	wire.TypeKeepalive, wire.TypeACK, wire.TypeNAK, wire.TypeCongestion, wire.TypeShutdown,
	wire.TypeACKACK, wire.TypeDropReq, wire.TypePeerError, wire.TypeUser, 0x1234,
}

// control is a control packet of any type but HANDSHAKE.
func (f *forge) control() []byte {
	b := f.bytes(wire.HeaderSize + f.IntN(64))
	wire.PutControl(b, controlTypes[f.IntN(len(controlTypes))], f.Uint32(), f.id())
	return b
}

var handshakeTypes = []wire.HandshakeType{
	wire.HandshakeWaveAHand, wire.HandshakeInduction, wire.HandshakeConclusion, wire.HandshakeAgreement, wire.HandshakeDone, 1004, 1005, 2503,
}

// handshake is one of random fields: cut, whole, or longer than any packet.
func (f *forge) handshake(dest uint32) []byte {
	b := f.bytes(wire.HeaderSize + f.IntN(f.longest))
	wire.PutControl(b, wire.TypeHandshake, f.Uint32(), dest)
	if h, ok := wire.AsHandshake(b); ok {
		h.SetType(handshakeTypes[f.IntN(len(handshakeTypes))])
		h.SetVersion(4 + uint32(f.IntN(2)))
	}
	return b
}

// mutated is a request of a caller's, good but for a few bytes, in the
// extensions above all.
func (f *forge) mutated(good wire.Handshake) []byte {
	b := append([]byte(nil), good...)
	for range f.IntN(6) {
		switch f.IntN(8) {
		case 0:
			b = b[:f.IntN(len(b)+1)]
		case 1:
			b = append(b, f.bytes(f.IntN(600))...)
		case 2: // a block's type or length
			if len(b) > wire.HandshakeSize+4 {
				at := wire.HandshakeSize + f.IntN(len(b)-wire.HandshakeSize)&^1
				b[at] = byte(f.IntN(2))
			}
		case 3: // a block again
			if len(b) > wire.HandshakeSize {
				b = append(b, b[wire.HandshakeSize+f.IntN(len(b)-wire.HandshakeSize)&^3:]...)
			}
		default:
			if len(b) > 0 {
				b[f.IntN(len(b))] = byte(f.Uint32())
			}
		}
	}
	return b[:min(len(b), f.longest)]
}

// attacker is a host with an address of its own, to which the relay's answers
// return: it has a good cookie.
type attacker struct {
	conn   *net.UDPConn
	cookie uint32
	own    *srttest.Session   // makes its requests
	stolen []*srttest.Session // the same with the socket IDs of victims
}

// request is a mutated INDUCTION or CONCLUSION of the attacker's.
func (f *forge) request(a attacker) []byte {
	s := a.own
	if f.IntN(4) == 0 {
		s = a.stolen[f.IntN(len(a.stolen))]
	}
	if f.IntN(2) == 0 {
		return f.mutated(s.Induction())
	}
	cookie := a.cookie
	if f.IntN(3) == 0 {
		cookie = f.Uint32()
	}
	h := s.Conclusion(cookie)
	if f.IntN(2) == 0 {
		h.SetISN(f.Uint32() >> 2)
	}
	if f.IntN(4) == 0 {
		h.SetSocketID(f.Uint32())
	}
	return f.mutated(h)
}

// toFront is what an attacker sends to the relay's listener.
func (f *forge) toFront(a attacker) []byte {
	switch f.IntN(6) {
	case 0:
		return f.noise()
	case 1:
		return f.data()
	case 2:
		return f.control()
	case 3:
		return f.handshake(f.id())
	case 4:
		return f.handshake(0)
	}
	return f.request(a)
}

// toBack is what an attacker sends to the relay's upstream ports, as if it
// were a backend.
func (f *forge) toBack() []byte {
	switch f.IntN(4) {
	case 0:
		return f.noise()
	case 1:
		return f.data()
	case 2:
		return f.control()
	}
	return f.handshake(f.victim().s.ID())
}
