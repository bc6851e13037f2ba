package relays

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"

	"github.com/dchest/siphash"

	"srtrelay/addr"
	"srtrelay/handshake"
	"srtrelay/wire"
)

// A frame is a datagram that one relay passes on to another:
//
//	 0  magic and version            4
//	 4  hint: which secret           4
//	 8  sender: random per process   8
//	16  sequence of the sender       8
//	24  time, in seconds since 1970  8
//	32  caller's address            16   IPv4 as IPv4-mapped
//	48  address the caller dialled  16   zero if the listener has one address
//	64  caller's port                2
//	66  listener's port              2
//	68  length of the datagram       2
//	70  zero                         2
//	72  the datagram, unchanged      n
//	72+n  authenticator             16
//
// The authenticator is SipHash-2-4 with 128 bits over the owner's address and all before
// it, under a key that derives from the secret that the relays share. SipHash is a PRF,
// takes one to two nanoseconds per byte without allocation, and needs no nonce: with AES-GMAC,
// which is faster, one nonce used twice would give the key away.
const (
	frameMagic = 0x73726301 // "src", version 1
	headSize   = 72
	tagSize    = 16
	// maxFrame is the longest frame: an SRT datagram fills an Ethernet frame, so that the
	// kernel sends a frame of it in two fragments unless the MTU is larger.
	maxFrame = headSize + maxData + tagSize
	// maxData is the longest datagram that is passed on.
	maxData = wire.MaxPayload
	// targetSize is what stands before a frame while its authenticator is computed: the
	// owner's address and port. It is not sent.
	targetSize = 18
)

// frameKey seals and opens frames.
type frameKey struct {
	hint   uint32
	k0, k1 uint64
}

// frameKeyOf derives the key of a shared secret. Cookies of the same secret have other keys.
func frameKeyOf(s handshake.Secret) frameKey {
	sum := sha256.Sum256(append([]byte("srtrelay cluster frame 1\x00"), s[:]...))
	return frameKey{
		k0: binary.BigEndian.Uint64(sum[:]), k1: binary.BigEndian.Uint64(sum[8:]),
		hint: binary.BigEndian.Uint32(sum[16:]),
	}
}

// stamp is what makes every frame different.
type stamp struct {
	sender, sequence uint64
	time             int64
}

// frame is an opened frame.
type frame struct {
	stamp
	Datagram
}

// putTarget writes the owner's address before a frame.
func putTarget(b []byte, owner addr.AddrPort) {
	copy(b, owner.IP[:])
	binary.BigEndian.PutUint16(b[16:], owner.Port)
}

// putDatagram writes a frame without stamp, hint and authenticator, behind the space for the
// target, and returns its length with that space; 0 if the datagram is too long. b has
// targetSize+maxFrame bytes.
func putDatagram(b []byte, owner addr.AddrPort, d Datagram) int {
	if len(d.Data) > maxData || len(d.Data) < wire.HeaderSize {
		return 0
	}
	putTarget(b, owner)
	f := b[targetSize:]
	clear(f[:headSize])
	binary.BigEndian.PutUint32(f, frameMagic)
	copy(f[32:], d.Caller.IP[:])
	copy(f[48:], d.Local[:])
	binary.BigEndian.PutUint16(f[64:], d.Caller.Port)
	binary.BigEndian.PutUint16(f[66:], d.Listener)
	binary.BigEndian.PutUint16(f[68:], uint16(len(d.Data)))
	copy(f[headSize:], d.Data)
	return targetSize + headSize + len(d.Data) + tagSize
}

// seal completes a frame of putDatagram, of the length that it returned, and returns what is
// to be sent.
func (k *frameKey) seal(b []byte, s stamp) []byte {
	f := b[targetSize:]
	binary.BigEndian.PutUint32(f[4:], k.hint)
	binary.BigEndian.PutUint64(f[8:], s.sender)
	binary.BigEndian.PutUint64(f[16:], s.sequence)
	binary.BigEndian.PutUint64(f[24:], uint64(s.time))
	signed := b[:len(b)-tagSize]
	t0, t1 := siphash.Hash128(k.k0, k.k1, signed)
	binary.BigEndian.PutUint64(b[len(signed):], t0)
	binary.BigEndian.PutUint64(b[len(signed)+8:], t1)
	return f
}

// openFrame checks a frame that was received at an address, and returns its content. b has
// the frame behind targetSize bytes of space. The frame's data is part of b.
func openFrame(b []byte, at addr.AddrPort, keys []frameKey) (f frame, drop Counter, ok bool) {
	in := b[targetSize:]
	if len(in) < headSize+wire.HeaderSize+tagSize {
		return f, DropShort, false
	}
	if binary.BigEndian.Uint32(in) != frameMagic {
		return f, DropVersion, false
	}
	data := in[headSize : len(in)-tagSize]
	if int(binary.BigEndian.Uint16(in[68:])) != len(data) {
		return f, DropShort, false
	}
	hint, known := binary.BigEndian.Uint32(in[4:]), false
	putTarget(b, at)
	for i := range keys {
		k := &keys[i]
		if k.hint != hint {
			continue
		}
		known = true
		if k.verify(b) {
			f.sender, f.sequence = binary.BigEndian.Uint64(in[8:]), binary.BigEndian.Uint64(in[16:])
			f.time = int64(binary.BigEndian.Uint64(in[24:]))
			copy(f.Caller.IP[:], in[32:])
			copy(f.Local[:], in[48:])
			f.Caller.Port, f.Listener = binary.BigEndian.Uint16(in[64:]), binary.BigEndian.Uint16(in[66:])
			f.Data = data
			return f, 0, true
		}
	}
	if !known {
		return f, DropSecret, false
	}
	return f, DropAuthenticator, false
}

func (k *frameKey) verify(b []byte) bool {
	var want [tagSize]byte
	signed := b[:len(b)-tagSize]
	t0, t1 := siphash.Hash128(k.k0, k.k1, signed)
	binary.BigEndian.PutUint64(want[:], t0)
	binary.BigEndian.PutUint64(want[8:], t1)
	return subtle.ConstantTimeCompare(want[:], b[len(signed):]) == 1
}

// keyring has the keys of the shared secrets, the first of which seals.
type keyring struct {
	secrets *handshake.SharedSecrets
	seen    *[]handshake.Secret
	keys    []frameKey
}

// current returns the keys of the secrets in force.
func (r *keyring) current() []frameKey {
	if v := r.secrets.Version(); v != r.seen {
		r.seen, r.keys = v, nil
		for _, s := range r.secrets.Load() {
			r.keys = append(r.keys, frameKeyOf(s))
		}
	}
	return r.keys
}
