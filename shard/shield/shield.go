// Package shield checks the control packets of established sessions, and the handshakes that
// open them, before a peer gets them. They are neither encrypted nor authenticated, and libsrt
// before 1.5.6 trusts what they say: whoever has completed a handshake can overwrite its stack
// with a KMREQ that is too long, have it read past a NAK or a DROPREQ that is cut short, or
// have it walk through a billion sequence numbers, and anybody its heap with a small MSS.
//
// The checks are no stricter than what libsrt, gosrt and others send: a packet that any of
// them sends passes. The kernel path's program makes the same checks (shard/kernelpath/bpf),
// and a test compares both.
//
// It must not know sessions nor counters (package shard), and has no state.
package shield

import (
	"encoding/binary"

	"srtrelay/wire"
)

// Verdict is what is wrong with a packet.
type Verdict uint8

// Verdicts. There is one per kind of packet, because what is wrong is always its length or
// a sequence number.
const (
	VerdictPass      Verdict = iota // nothing is wrong
	VerdictKM                       // KMREQ, KMRSP: key material
	VerdictACK                      // ACK
	VerdictNAK                      // NAK
	VerdictDropReq                  // DROPREQ
	VerdictHandshake                // handshake, HSREQ, HSRSP
	VerdictLength                   // a packet that is but a header is longer than its padding may be
	NumVerdicts
)

var verdictNames = [NumVerdicts]string{
	VerdictPass: "pass", VerdictKM: "km", VerdictACK: "ack", VerdictNAK: "nak", VerdictDropReq: "dropreq",
	VerdictHandshake: "handshake", VerdictLength: "length",
}

// String returns the verdict's name in drop reasons.
func (v Verdict) String() string { return verdictNames[min(v, NumVerdicts-1)] }

// Progress is how far the data packets of a packet's sender have come.
type Progress struct {
	Next  uint32 // sequence number after the newest
	Known bool
}

// Lengths behind the header, in bytes.
const (
	// maxKM is a key material message of two keys of AES-256: 16 bytes of fields, 16 of
	// salt, 2 times 32 of keys and 8 that AES key wrap adds. libsrt before 1.5.6 copies
	// what it gets into as many bytes on its stack.
	maxKM = 104
	// minKM is one of a single key of AES-128 without salt.
	minKM = 40
	// kmError is the one word that answers a KMREQ which the receiver cannot use.
	kmError = 4

	ackLite  = 4  // the sequence number alone
	ackSmall = 16 // RTT and buffer as well
	ackFull  = 24 // rates as well; 28 or 32 bytes by the version
	maxACK   = 64 // has space for what later versions may add

	dropReqSize = 8 // two sequence numbers

	// minHSReq is an HSREQ of the first versions of SRT, maxHSReq has a word more than the
	// later ones.
	minHSReq, maxHSReq = 8, 16

	// datagramHeaders are those of IPv4 and UDP, which an MSS includes.
	datagramHeaders = 28
	// answerMore is what the answer to a CONCLUSION may have that it has not: the word that
	// refuses a key, in a block, and the rest of a packet filter's configuration.
	answerMore = 8 + 64

	// maxPadding is the most behind the header of a packet that has no content. libsrt sends
	// 4 bytes, others none, and nobody reads them.
	maxPadding = 64
)

// Window is how many packets a DROPREQ may give up, how far from the newest packet they may
// be, and the largest flow window of a handshake: 11 s of 1 Gbit/s, and forty times libsrt's
// default. libsrt walks through a DROPREQ's range packet by packet, on the thread that
// receives for all sessions, and has 24 bytes of memory for each packet of the flow window
// that a caller names.
const Window = 1 << 20

// Check returns what is wrong with a control packet of an established session. It reads no
// further than the packet goes. progress concerns DROPREQs only.
func Check(p wire.Packet, progress Progress) Verdict {
	n := len(p) - wire.HeaderSize
	switch p.Control() {
	case wire.TypeHandshake:
		return CheckHandshake(p)
	case wire.TypeACK:
		return of(VerdictACK, isACK(p[wire.HeaderSize:]))
	case wire.TypeNAK:
		return of(VerdictNAK, isLossList(p[wire.HeaderSize:]))
	case wire.TypeDropReq:
		return of(VerdictDropReq, isDropReq(p[wire.HeaderSize:], progress))
	case wire.TypeUser:
		return extension(p.Subtype(), n)
	case wire.TypeKeepalive, wire.TypeCongestion, wire.TypeShutdown, wire.TypeACKACK, wire.TypePeerError:
		return of(VerdictLength, n <= maxPadding)
	}
	return VerdictPass // of a later version: what it means is not known here, nor to any peer so far
}

func of(v Verdict, passes bool) Verdict {
	if passes {
		return VerdictPass
	}
	return v
}

// extension checks the length of a handshake extension that travels by itself. libsrt hands
// other subtypes to the application, and none listens.
func extension(subtype uint16, n int) Verdict {
	switch subtype {
	case wire.SubtypeHSReq, wire.SubtypeHSRsp:
		return of(VerdictHandshake, n%4 == 0 && n >= minHSReq && n <= maxHSReq)
	case wire.SubtypeKMReq:
		return of(VerdictKM, isKM(n))
	case wire.SubtypeKMRsp:
		return of(VerdictKM, n == kmError || isKM(n))
	}
	return VerdictPass
}

func isKM(n int) bool { return n%4 == 0 && n >= minKM && n <= maxKM }

// isACK reports whether an ACK has one of the lengths that exist: of those between, libsrt
// reads words that are not there.
func isACK(b []byte) bool {
	switch n := len(b); {
	case n == ackLite, n == ackSmall:
	case n%4 != 0 || n < ackFull || n > maxACK:
		return false
	}
	return isSequence(binary.BigEndian.Uint32(b))
}

func isSequence(word uint32) bool { return word&^wire.SequenceMask == 0 }

// isLossList reports whether a NAK names lost packets, each alone or as a range that has its
// end.
func isLossList(b []byte) bool {
	if len(b) == 0 || len(b)%4 != 0 {
		return false
	}
	var first uint32
	open := false
	for ; len(b) > 0; b = b[4:] {
		word := binary.BigEndian.Uint32(b)
		switch {
		case open:
			if !isSequence(word) || wire.Ahead(word, first) < 0 {
				return false
			}
			open = false
		case !isSequence(word):
			first, open = word&wire.SequenceMask, true
		}
	}
	return !open
}

// isDropReq reports whether a DROPREQ gives up a range of packets that its sender may have
// had.
func isDropReq(b []byte, progress Progress) bool {
	if len(b) != dropReqSize {
		return false
	}
	first, last := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if n := wire.Ahead(last, first); !isSequence(first) || !isSequence(last) || n < 0 || n >= Window {
		return false
	}
	return !progress.Known ||
		wire.Ahead(last, progress.Next) > -Window && wire.Ahead(first, progress.Next) < Window
}

// leastMSS returns the MSS that a CONCLUSION of a length must name at least. libsrt makes its
// answer in a buffer of the size that the caller's MSS leaves, and does not look whether it
// fits: 76 from anybody ends Debian's 1.5.1-1+deb12u2. No peer sends a CONCLUSION that its own
// MSS does not allow, and the answer is longer only by what answerMore has.
func leastMSS(size int) uint32 { return uint32(datagramHeaders + size + answerMore) }

// CheckHandshake returns what is wrong with a handshake, be it the one that opens a session
// or one in it.
func CheckHandshake(p wire.Packet) Verdict {
	if len(p) < wire.HandshakeSize {
		return VerdictHandshake
	}
	h := wire.Handshake(p)
	if h.Type() == wire.HandshakeConclusion && (h.FlowWindow() > Window || h.MSS() < leastMSS(len(p))) {
		return VerdictHandshake
	}
	for b := range h.Blocks {
		// libsrt reads them whatever the handshake's type, and also if they are cut.
		if (b.Type == wire.BlockKMReq || b.Type == wire.BlockKMRsp) && b.Size > maxKM {
			return VerdictHandshake
		}
	}
	return VerdictPass
}
