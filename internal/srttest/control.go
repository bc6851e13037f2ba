package srttest

import (
	"encoding/binary"
	"fmt"

	"srtrelay/wire"
)

// ControlCase is one control packet of an established session.
type ControlCase struct {
	Name string
	// Kind is what is wrong with it, "" if nothing is: the relay drops it as "shield_" and
	// this.
	Kind string
	// Packet is addressed to nobody; see To.
	Packet wire.Packet
	// NeedsData says that it is wrong only beside data packets: those of the sequence number
	// that the cases were made for.
	NeedsData bool
}

// To returns the packet with a destination ID.
func (c ControlCase) To(id uint32) wire.Packet {
	p := append(wire.Packet(nil), c.Packet...)
	p.SetDestID(id)
	return p
}

// Control makes a control packet of words.
func Control(t wire.ControlType, subtype uint16, words ...uint32) wire.Packet {
	p := ControlOf(t, subtype, 4*len(words))
	for i, word := range words {
		binary.BigEndian.PutUint32(p[wire.HeaderSize+4*i:], word)
	}
	return p
}

// ControlOf makes a control packet with so many bytes of zeros behind the header.
func ControlOf(t wire.ControlType, subtype uint16, n int) wire.Packet {
	p := make(wire.Packet, wire.HeaderSize+n)
	wire.PutControl(p, t, 1_000_000, 0)
	binary.BigEndian.PutUint16(p[2:], subtype)
	return p
}

// handshakeWith makes a handshake with an extension block that is announced to have so many
// words.
func handshakeWith(t wire.HandshakeType, kind wire.BlockType, announced, content int) wire.Packet {
	p := make(wire.Packet, wire.HandshakeSize)
	wire.PutControl(p, wire.TypeHandshake, 1_000_000, 0)
	h := wire.Handshake(p)
	h.SetVersion(5)
	h.SetExtension(wire.FlagKMReq)
	h.SetISN(1)
	h.SetMSS(maxMSS)
	h.SetFlowWindow(defaultSpace)
	h.SetType(t)
	h.SetSocketID(1)
	p = wire.Packet(wire.AppendBlock(h, kind, make([]byte, 4*content)))
	binary.BigEndian.PutUint16(p[wire.HandshakeSize+2:], uint16(announced))
	return p
}

// handshakeOf makes a CONCLUSION with features.
func handshakeOf(mss, window uint32) wire.Packet {
	p := handshakeWith(wire.HandshakeConclusion, wire.BlockHSReq, 3, 3)
	wire.Handshake(p).SetMSS(mss)
	wire.Handshake(p).SetFlowWindow(window)
	return p
}

// whole is a control packet as long as any datagram of SRT.
const whole = wire.MaxPayload - wire.HeaderSize

// rangeBit marks the begin of a range in a NAK.
const rangeBit = 1 << 31

// farAway is beyond any flow window: shield.Window.
const farAway = 1 << 20

// straddling makes a NAK of one packet and ranges behind it, whose ends are the words of even
// index: n words, the last of which begins a range if n is even.
func straddling(seq func(int) uint32, n int) (words []uint32) {
	for i := range n {
		word := seq(i - n - 9)
		if i%2 == 1 {
			word |= rangeBit
		}
		words = append(words, word)
	}
	return words
}

// headerOnly are the control packets without content.
var headerOnly = map[string]wire.ControlType{
	"KEEPALIVE": wire.TypeKeepalive, "congestion warning": wire.TypeCongestion, "SHUTDOWN": wire.TypeShutdown,
	"ACKACK": wire.TypeACKACK, "peer error": wire.TypePeerError,
}

// controlCases collects cases.
type controlCases []ControlCase

func (all *controlCases) add(kind, name string, p wire.Packet) {
	*all = append(*all, ControlCase{Name: name, Kind: kind, Packet: p})
}

// lengths adds packets of these lengths behind the header, full of zeros.
func (all *controlCases) lengths(kind, name string, t wire.ControlType, subtype uint16, sizes ...int) {
	for _, n := range sizes {
		all.add(kind, fmt.Sprintf("%s of %d bytes", name, n), ControlOf(t, subtype, n))
	}
}

// MalformedControls are control packets that no peer sends, in a session whose sender's next
// data packet has the sequence number next.
func MalformedControls(next uint32) []ControlCase {
	var all controlCases
	seq := func(d int) uint32 { return (next + uint32(d)) & wire.SequenceMask }
	all.lengths("km", "KMREQ", wire.TypeUser, wire.SubtypeKMReq, 0, 4, 16, 36, 42, 71, 105, 108, 1352, whole)
	all.lengths("km", "KMRSP", wire.TypeUser, wire.SubtypeKMRsp, 0, 3, 8, 36, 105, 108, 1352, whole)
	all.lengths("handshake", "HSREQ", wire.TypeUser, wire.SubtypeHSReq, 0, 4, 7, 11, 20, whole)
	all.lengths("handshake", "HSRSP", wire.TypeUser, wire.SubtypeHSRsp, 0, 4, 13, 20, whole)
	all.lengths("ack", "ACK", wire.TypeACK, 0, 0, 2, 3, 5, 8, 12, 17, 20, 27, 29, 68, whole)
	all.add("ack", "lite ACK of -1", Control(wire.TypeACK, 0, 0xFFFFFFFF))
	all.add("ack", "full ACK with bit 31", Control(wire.TypeACK, 0, rangeBit|seq(-1), 1, 2, 3, 4, 5, 6))

	all.lengths("nak", "NAK", wire.TypeNAK, 0, 0, 1, 3, 6, 1455)
	all.add("nak", "NAK of a begin alone", Control(wire.TypeNAK, 0, rangeBit|seq(-9)))
	all.add("nak", "NAK that ends in a begin", Control(wire.TypeNAK, 0, seq(-9), rangeBit|seq(-8)))
	all.add("nak", "NAK of two begins", Control(wire.TypeNAK, 0, rangeBit|seq(-9), rangeBit|seq(-8)))
	all.add("nak", "NAK of a range in reverse", Control(wire.TypeNAK, 0, rangeBit|seq(-3), seq(-9)))
	long := make([]uint32, whole/4)
	for i := range long {
		long[i] = seq(-len(long) + i)
	}
	long[len(long)-1] |= rangeBit
	all.add("nak", "long NAK that ends in a begin", Control(wire.TypeNAK, 0, long...))
	for _, n := range []int{16, 17, 32, 33} { // the kernel path's program reads 16 at once
		words := straddling(seq, n-1)
		all.add("nak", fmt.Sprintf("NAK of %d words that ends in a begin", n), Control(wire.TypeNAK, 0, append(words, rangeBit|seq(-1))...))
		words = straddling(seq, n+1)
		words[n] = seq(-n - 99)
		if n%2 == 0 {
			all.add("nak", fmt.Sprintf("NAK whose word %d is in reverse", n), Control(wire.TypeNAK, 0, words...))
		}
	}

	all.lengths("dropreq", "DROPREQ", wire.TypeDropReq, 0, 0, 4, 7, 9, 12, whole)
	all.add("dropreq", "DROPREQ in reverse", Control(wire.TypeDropReq, 0, seq(-3), seq(-4)))
	all.add("dropreq", "DROPREQ of half of all", Control(wire.TypeDropReq, 0, seq(-1), seq(1<<30-2)))
	all.add("dropreq", "DROPREQ of too many", Control(wire.TypeDropReq, 0, seq(-farAway), seq(0)))
	all.add("dropreq", "DROPREQ with bit 31 first", Control(wire.TypeDropReq, 0, rangeBit|seq(-3), seq(-2)))
	all.add("dropreq", "DROPREQ with bit 31 last", Control(wire.TypeDropReq, 0, seq(-3), rangeBit|seq(-2)))
	for name, d := range map[string]int{"far ahead": farAway + 100, "far behind": -farAway - 100} {
		all = append(all, ControlCase{
			Name: "DROPREQ " + name, Kind: "dropreq", NeedsData: true,
			Packet: Control(wire.TypeDropReq, 0, seq(d), seq(d+1)),
		})
	}

	all.lengths("handshake", "handshake", wire.TypeHandshake, 0, 0, 4, 32, 47)
	for name, t := range map[string]wire.HandshakeType{
		"CONCLUSION": wire.HandshakeConclusion, "INDUCTION": wire.HandshakeInduction, "rejection": 1004,
	} {
		all.add("handshake", name+" with 108 bytes of KMREQ", handshakeWith(t, wire.BlockKMReq, 27, 27))
		all.add("handshake", name+" with 1352 bytes of KMRSP", handshakeWith(t, wire.BlockKMRsp, 338, 338))
		all.add("handshake", name+" with a cut KMREQ", handshakeWith(t, wire.BlockKMReq, 0xFFFF, 18))
	}
	all.add("handshake", "CONCLUSION with the MSS of libsrt's least", handshakeOf(76, 8192))
	all.add("handshake", "CONCLUSION with an MSS that leaves nothing", handshakeOf(44, 8192))
	all.add("handshake", "CONCLUSION with an MSS below its own length", handshakeOf(100, 8192))
	all.add("handshake", "CONCLUSION with a flow window of a billion", handshakeOf(maxMSS, 1<<30))
	all.add("handshake", "CONCLUSION with a flow window below 0", handshakeOf(maxMSS, 1<<32-1))
	for name, t := range headerOnly {
		all.lengths("length", name, t, 0, 65, whole)
	}
	return all
}

// SoundControls are control packets that libsrt, gosrt and others send.
func SoundControls(next uint32) []ControlCase {
	var all controlCases
	seq := func(d int) uint32 { return (next + uint32(d)) & wire.SequenceMask }
	all.lengths("", "KMREQ", wire.TypeUser, wire.SubtypeKMReq, 56, 64, 72, 88, 104)
	all.lengths("", "KMRSP", wire.TypeUser, wire.SubtypeKMRsp, 4, 56, 64, 72, 88, 104)
	all.lengths("", "HSREQ", wire.TypeUser, wire.SubtypeHSReq, 8, 12)
	all.lengths("", "HSRSP", wire.TypeUser, wire.SubtypeHSRsp, 8, 12)
	all.lengths("", "application's", wire.TypeUser, 77, 0, 4, whole)
	all.lengths("", "ACK", wire.TypeACK, 0, 4, 16, 24, 28, 32)
	all.add("", "full ACK", Control(wire.TypeACK, 0, seq(0), 10_000, 5_000, 8189, 100, 1000, 131_600))
	all.add("", "NAK of one", Control(wire.TypeNAK, 0, seq(-1)))
	all.add("", "NAK of a range", Control(wire.TypeNAK, 0, rangeBit|seq(-9), seq(-3)))
	all.add("", "NAK of a range of one", Control(wire.TypeNAK, 0, rangeBit|seq(-9), seq(-9)))
	all.add("", "NAK of both", Control(wire.TypeNAK, 0, seq(-30), rangeBit|seq(-20), seq(-11), seq(-9)))
	all.add("", "NAK across the wrap", Control(wire.TypeNAK, 0, rangeBit|wire.SequenceMask-3, 3))
	long := make([]uint32, whole/4)
	for i := range long {
		if long[i] = seq(-2*len(long) + i); i%2 == 0 {
			long[i] |= rangeBit
		}
	}
	all.add("", "long NAK", Control(wire.TypeNAK, 0, long...))
	for _, n := range []int{15, 16, 17, 31, 32, 33, 34} {
		all.add("", fmt.Sprintf("NAK of %d words", n), Control(wire.TypeNAK, 0, straddling(seq, n|1)...))
	}
	all.add("", "DROPREQ", Control(wire.TypeDropReq, 0, seq(-5), seq(-2)))
	all.add("", "DROPREQ of one", Control(wire.TypeDropReq, 0, seq(-5), seq(-5)))
	all.add("", "DROPREQ of a window", Control(wire.TypeDropReq, 0, seq(-200_000), seq(100)))

	p := ControlOf(wire.TypeHandshake, 0, wire.HandshakeSize-wire.HeaderSize)
	wire.Handshake(p).SetType(1004)
	all.add("", "handshake 1004 in a session", p)
	all.add("", "late CONCLUSION", handshakeWith(wire.HandshakeConclusion, wire.BlockKMReq, 26, 26))
	all.add("", "late response", handshakeWith(wire.HandshakeConclusion, wire.BlockKMRsp, 1, 1))
	all.add("", "CONCLUSION with a long stream ID", handshakeWith(wire.HandshakeConclusion, wire.BlockSID, 128, 128))
	all.add("", "CONCLUSION with an MSS for one packet of MPEG-TS", handshakeOf(232, 8192))
	all.add("", "CONCLUSION with a large flow window", handshakeOf(maxMSS, 1_000_000))
	for name, t := range headerOnly {
		all.lengths("", name, t, 0, 0, 4)
	}
	all.add("", "KEEPALIVE of a group", Control(wire.TypeKeepalive, 0, 1, 2, 3, 4))
	all.add("", "SHUTDOWN with a reason", Control(wire.TypeShutdown, 0, 1004, 0))
	all.lengths("", "type of a later version", 0x0009, 0, 0, 4, whole)
	for name, t := range headerOnly { // nobody reads the subtype of a type that has none
		all.lengths("", name+" with a subtype", t, 7, 0, 4)
	}
	all.add("", "ACK with a subtype", Control(wire.TypeACK, 7, seq(0)))
	all.add("", "NAK with a subtype", Control(wire.TypeNAK, 7, seq(-1)))
	all.add("", "DROPREQ with a subtype", Control(wire.TypeDropReq, 7, seq(-5), seq(-2)))
	for _, subtype := range []uint16{0, 5, 0xFFFF} {
		all.lengths("", fmt.Sprintf("extension %d", subtype), wire.TypeUser, subtype, 0, 3, whole)
	}
	return all
}
