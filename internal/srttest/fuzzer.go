package srttest

import (
	"encoding/binary"
	"math/rand/v2"

	"srtrelay/wire"
)

// noiseSize is how many random bytes a Fuzzer makes at once. Making them for each datagram
// would be slower than sending it.
const noiseSize = 1 << 20

// Fuzzer makes hostile datagrams, the same ones for the same seed and socket
// IDs. It belongs to one goroutine.
type Fuzzer struct {
	*rand.Rand
	// ID returns a destination ID, a random one or a victim's.
	ID      func() uint32
	longest int // bytes of a datagram
	noise   []byte
}

// NewFuzzer returns a Fuzzer of datagrams up to a length. The caller must set ID.
func NewFuzzer(seed uint64, longest int) *Fuzzer {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	source := rand.NewChaCha8(key)
	f := &Fuzzer{Rand: rand.New(source), longest: longest, noise: make([]byte, noiseSize)}
	_, _ = source.Read(f.noise) // never fails
	return f
}

// Bytes returns n random bytes, to be changed at will.
func (f *Fuzzer) Bytes(n int) []byte {
	at := f.IntN(len(f.noise) - n)
	return append([]byte(nil), f.noise[at:at+n]...)
}

// Noise is random bytes of any length, none included.
func (f *Fuzzer) Noise() []byte { return f.Bytes(f.IntN(f.longest + 1)) }

// Data is a data packet.
func (f *Fuzzer) Data() []byte {
	b := f.Bytes(wire.HeaderSize + f.IntN(wire.MaxPayload))
	b[0] &= 0x7F
	wire.Packet(b).SetDestID(f.ID())
	return b
}

var controlTypes = []wire.ControlType{
	wire.TypeKeepalive, wire.TypeACK, wire.TypeNAK, wire.TypeCongestion, wire.TypeShutdown,
	wire.TypeACKACK, wire.TypeDropReq, wire.TypePeerError, wire.TypeUser, 0x1234,
}

// Control is a control packet of any type but HANDSHAKE.
func (f *Fuzzer) Control() []byte {
	b := f.Bytes(wire.HeaderSize + f.IntN(64))
	wire.PutControl(b, controlTypes[f.IntN(len(controlTypes))], f.Uint32(), f.ID())
	return b
}

var handshakeTypes = []wire.HandshakeType{
	wire.HandshakeWaveAHand, wire.HandshakeInduction, wire.HandshakeConclusion, wire.HandshakeAgreement, wire.HandshakeDone, 1004, 1005, 2503,
}

// Handshake is one of random fields: cut, whole, or longer than any packet.
func (f *Fuzzer) Handshake(dest uint32) []byte {
	b := f.Bytes(wire.HeaderSize + f.IntN(f.longest-wire.HeaderSize))
	wire.PutControl(b, wire.TypeHandshake, f.Uint32(), dest)
	if h, ok := wire.AsHandshake(b); ok {
		h.SetType(handshakeTypes[f.IntN(len(handshakeTypes))])
		h.SetVersion(4 + uint32(f.IntN(2)))
	}
	return b
}

// Mutate returns a handshake damaged in up to five places, in the extensions
// above all.
func (f *Fuzzer) Mutate(good []byte) []byte {
	b := append([]byte(nil), good...)
	for range f.IntN(6) {
		switch f.IntN(8) {
		case 0:
			b = b[:f.IntN(len(b)+1)]
		case 1:
			b = append(b, f.Bytes(f.IntN(600))...)
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
	return b[:min(len(b), f.longest)]
}

// ToListener returns a datagram that an attacker sends to a relay's listener; request makes a
// caller's handshake.
func (f *Fuzzer) ToListener(request func() []byte) []byte {
	switch f.IntN(6) {
	case 0:
		return f.Noise()
	case 1:
		return f.Data()
	case 2:
		return f.Control()
	case 3:
		return f.Handshake(f.ID())
	case 4:
		return f.Handshake(0)
	}
	return request()
}

// ToUpstream returns a datagram that an attacker sends to a relay's upstream ports as if it
// were a backend.
func (f *Fuzzer) ToUpstream() []byte {
	switch f.IntN(4) {
	case 0:
		return f.Noise()
	case 1:
		return f.Data()
	case 2:
		return f.Control()
	}
	return f.Handshake(f.ID())
}
