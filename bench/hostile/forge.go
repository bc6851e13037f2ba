//go:build linux

package hostile

import (
	"math/rand/v2"

	"srtrelay/bench/live"
	"srtrelay/bench/srt"
	"srtrelay/handshake"
	"srtrelay/wire"
)

// longest is the longest forged datagram: above every MTU's.
const longest = 1600

// forge makes hostile datagrams, the same ones for the same seed and victims.
type forge struct {
	*rand.Rand
	noise   []byte // random bytes to take from
	victims []live.Pair
	cookies []uint32 // good ones, of the attacker's own address
}

func newForge(seed uint64, victims []live.Pair) *forge {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	source := rand.NewChaCha8(key)
	f := &forge{Rand: rand.New(source), noise: make([]byte, 1<<20), victims: victims}
	_, _ = source.Read(f.noise) // never fails
	return f
}

// bytes returns n random bytes, to be changed at will.
func (f *forge) bytes(n int) []byte {
	at := f.IntN(len(f.noise) - n)
	return append([]byte(nil), f.noise[at:at+n]...)
}

// id is a socket ID that is nobody's, a victim's in either direction, or 0.
func (f *forge) id() uint32 {
	if len(f.victims) > 0 {
		victim := f.victims[f.IntN(len(f.victims))]
		switch f.IntN(5) {
		case 0:
			return victim.Server
		case 1:
			return victim.Caller
		}
	}
	if f.IntN(8) == 0 {
		return 0
	}
	return f.Uint32() | 1
}

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
	b := f.bytes(wire.HeaderSize + f.IntN(longest-wire.HeaderSize))
	wire.PutControl(b, wire.TypeHandshake, f.Uint32(), dest)
	if h, ok := wire.AsHandshake(b); ok {
		h.SetType(handshakeTypes[f.IntN(len(handshakeTypes))])
		h.SetVersion(4 + uint32(f.IntN(2)))
	}
	return b
}

// request is an INDUCTION or a CONCLUSION as callers send them, with a good, a
// stale or a bad cookie, often damaged.
func (f *forge) request() []byte {
	id := f.Uint32()>>2 | 1
	if f.IntN(4) == 0 {
		id = f.id()
	}
	isn := f.Uint32() & srt.MaxSequence
	if f.IntN(3) == 0 {
		return f.mutated(handshake.AppendInduction(nil, id, handshake.Nonce(isn), rigAddr))
	}
	cookie := f.Uint32()
	// Most are refused by their cookie: a good one makes work for servers,
	// which are the generator's.
	if len(f.cookies) > 0 && f.IntN(20) == 0 {
		cookie = f.cookies[f.IntN(len(f.cookies))]
	}
	stream := srt.Wish{Stream: "live/hostile"}
	return f.mutated(srt.AppendConclusion(nil, id, isn, cookie, rigAddr, stream.StreamID()))
}

// mutated damages a request in up to five places, in the extensions above all.
func (f *forge) mutated(b []byte) []byte {
	for range f.IntN(6) {
		switch f.IntN(8) {
		case 0:
			b = b[:f.IntN(len(b)+1)]
		case 1:
			b = append(b, f.bytes(f.IntN(600))...)
		case 2: // a block's type or length
			if len(b) > wire.HandshakeSize+4 {
				b[wire.HandshakeSize+f.IntN(len(b)-wire.HandshakeSize)&^1] = byte(f.IntN(2))
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
	return b[:min(len(b), longest)]
}

// toFront is what an attacker sends to the relay's listener.
func (f *forge) toFront() []byte {
	switch f.IntN(6) {
	case 0:
		return f.bytes(f.IntN(longest))
	case 1:
		return f.data()
	case 2:
		return f.control()
	case 3:
		return f.handshake(f.id())
	case 4:
		return f.handshake(0)
	}
	return f.request()
}

// toBack is what an attacker sends to the relay's upstream ports, as if it were
// a backend.
func (f *forge) toBack() []byte {
	switch f.IntN(4) {
	case 0:
		return f.bytes(f.IntN(longest))
	case 1:
		return f.data()
	case 2:
		return f.control()
	}
	return f.handshake(f.id())
}
