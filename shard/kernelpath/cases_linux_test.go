package kernelpath

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/gopacket/gopacket/layers"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

func passingCases(r *rig) []programCase {
	longNAK := make([]uint32, (wire.MaxPayload-wire.HeaderSize)/4)
	near, routed := r.toDevice("198.51.100.2", 1500), r.toDevice("198.51.100.254", 1500)
	local := toLoopback()
	local.action = pathActionTO_LOCAL
	near6 := r.toDevice("2001:db8::9", 1500)
	df := func(ip4 *layers.IPv4, _ *layers.IPv6, _ *layers.UDP) {
		ip4.Flags, ip4.Id, ip4.TOS = layers.IPv4DontFragment, 0, 0xb8
	}
	return []programCase{
		{name: "data", payload: plainData, action: redirect, packets: 1, next: 2},
		{name: "data, key even", payload: dataOf(1, even, backendID, 1316), action: redirect, packets: 1, next: 2, records: 1},
		{name: "data, gap", payload: dataOf(9, plain, backendID, 1316), action: redirect, packets: 1, next: 10, records: 1},
		{name: "data, header alone", payload: dataOf(1, plain, backendID, 0), action: redirect, packets: 1, next: 2},
		{name: "data to a neighbour", only: 4, hop: &near, payload: plainData, action: redirect, packets: 1, next: 2},
		{name: "data to a neighbour", only: 6, hop: &near6, payload: plainData, action: redirect, packets: 1, next: 2},
		{name: "data to a gateway", only: 4, hop: &routed, payload: plainData, action: redirect, packets: 1, next: 2},
		{name: "data, accept_local", hop: &local, payload: plainData, action: next, packets: 1, next: 2},
		{name: "ACK", payload: control(wire.TypeACK, 1, 2, 3, 4, 5, 6, 7), action: redirect, packets: 1, records: 1},
		{name: "ACK, lite", payload: control(wire.TypeACK, 1), action: redirect, packets: 1, records: 1},
		{name: "NAK, short", payload: control(wire.TypeNAK, 1), action: redirect, packets: 1, records: 1},
		{name: "NAK, long", payload: control(wire.TypeNAK, longNAK...), action: redirect, packets: 1, records: 1},
		{name: "ACKACK", payload: control(wire.TypeACKACK), action: redirect, packets: 1, records: 1},
		{name: "DROPREQ", payload: control(wire.TypeDropReq, 1, 2), action: redirect, packets: 1, records: 1},
		{name: "keepalive", payload: control(wire.TypeKeepalive, 0), action: redirect, packets: 1},
		{
			name: "user extension", payload: controlOf(wire.TypeUser, wire.SubtypeKMReq, 0, backendID, 1, 2, 3),
			action: redirect, packets: 1, records: 1,
		},
		{name: "DF set", payload: plainData, layers: df, action: redirect, packets: 1, next: 2},
		{name: "COMPLETE checksum", payload: plainData, flags: checksumComplete, action: redirect, packets: 1, next: 2},
		{name: "zero checksum", only: 4, payload: plainData, mangle: zeroChecksum, action: redirect, packets: 1, next: 2},
		{name: "padded", payload: control(wire.TypeKeepalive, 0), mangle: pad, action: redirect, packets: 1},
		{
			name: "lo egress to a device", local: true, hop: &near, only: 4, payload: plainData, ctx: skb{Ifindex: loopback},
			action: redirect, packets: 1, next: 2,
		},
		{
			name: "lo egress to lo", local: true, payload: plainData, ctx: skb{Ifindex: loopback},
			action: next, packets: 1, next: 2,
		},
	}
}

func zeroChecksum(frame []byte) []byte {
	copy(frame[udpAt(frame)+6:], []byte{0, 0})
	return frame
}

// pad appends what Ethernet pads short frames with.
func pad(frame []byte) []byte { return append(frame, make([]byte, 9)...) }

// sessionCases are datagrams of a session that go up, or of none.
func sessionCases(r *rig) []programCase {
	tight := r.toDevice("198.51.100.2", 20+8+16+99)
	soft := r.toDevice("198.51.100.2", 1500)
	soft.flags = virtualDevice
	way := func(r *rig, e *Session) Way { return r.shard.Way(e.Place, 0) }
	cases := []programCase{
		{name: "other ID", payload: dataOf(1, plain, backendID+1, 100), action: next},
		{name: "ID 0", payload: id0(dataOf(1, plain, 0, 100)), action: next},
		{
			name: "other port", payload: plainData, action: next,
			layers: func(_ *layers.IPv4, _ *layers.IPv6, udp *layers.UDP) { udp.SrcPort++ },
		},
		{name: "longer than the MTU", only: 4, hop: &tight, payload: plainData, action: next, reason: "mtu"},
		{name: "as long as the MTU", only: 4, hop: &tight, payload: plainData[:115], action: redirect, packets: 1, next: 2},
		{
			name: "COMPLETE checksum to a virtual device", only: 4, hop: &soft, payload: plainData,
			flags: checksumComplete, action: next, reason: "checksum",
		},
		{name: "virtual device", only: 4, hop: &soft, payload: plainData, action: redirect, packets: 1, next: 2},
		{
			name: "way off", payload: plainData, action: next, reason: "off",
			set: func(r *rig, e *Session) { way(r, e).SetOff() },
		},
		{
			name: "way pending", payload: plainData, action: next, reason: "pending",
			set: func(r *rig, e *Session) { way(r, e).SetPending() },
		},
		{
			name: "paused", payload: plainData, action: next, reason: "paused",
			set:   func(r *rig, _ *Session) { r.pause() },
			after: func(r *rig, _ *Session) { r.resume() },
		},
		{
			name: "place of another generation", payload: plainData, action: next, reason: "reused",
			set: func(r *rig, e *Session) {
				r.shard.Reset(e.Place, e.Gen+100)
				way(r, e).SetSequence(sequence(1), true)
			},
		},
		{name: "forged source of this host", local: true, payload: plainData, action: next},
		{name: "forged, a train", local: true, payload: train(dataOf(1, plain, 7, 84), dataOf(1, plain, backendID, 84)), ctx: segments(100), action: next},
		{name: "lo egress, but of another host", payload: plainData, ctx: skb{Ifindex: loopback}, action: next},
		{name: "redirected to lo", local: true, payload: plainData, ctx: skb{Ifindex: loopback, IngressIfindex: r.device}, action: next},
	}
	for name, kind := range map[string]wire.ControlType{
		"handshake": wire.TypeHandshake, "SHUTDOWN": wire.TypeShutdown, "congestion warning": wire.TypeCongestion,
		"peer error": wire.TypePeerError, "unknown type": 0x1234, "unknown type 9": 9,
	} {
		cases = append(cases, programCase{
			name: name, payload: control(kind, 0), action: next, reason: "type",
			after: func(r *rig, e *Session) {
				if way(r, e).Mode() != On {
					r.t.Error("the way is not on any more")
				}
			},
		})
	}
	for name, p := range map[string]wire.Packet{
		"KMREQ too long":  srttest.ControlOf(wire.TypeUser, wire.SubtypeKMReq, 1352),
		"NAK cut short":   srttest.Control(wire.TypeNAK, 0, 1<<31),
		"DROPREQ as lite": srttest.Control(wire.TypeDropReq, 0, 1),
	} {
		p.SetDestID(backendID)
		cases = append(cases, programCase{
			name: name + ", shielded", payload: p, action: next, reason: "shield",
			set: func(r *rig, _ *Session) { r.SetShield(true) },
			after: func(r *rig, e *Session) {
				r.SetShield(false)
				if way(r, e).Mode() != On {
					r.t.Error("the way is not on any more")
				}
			},
		}, programCase{name: name, payload: p, action: redirect, packets: 1, records: 1})
	}
	slices.SortFunc(cases, func(a, b programCase) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	return cases
}

// malformedCases are frames that the program must not take.
func malformedCases() []programCase {
	cut := func(n int) func([]byte) []byte {
		return func(frame []byte) []byte { return frame[:n] }
	}
	udpLength := func(change int) func([]byte) []byte {
		return func(frame []byte) []byte {
			at := frame[udpAt(frame)+4:]
			binary.BigEndian.PutUint16(at, uint16(int(binary.BigEndian.Uint16(at))+change))
			return frame
		}
	}
	flags := func(f layers.IPv4Flag, offset uint16) func(*layers.IPv4, *layers.IPv6, *layers.UDP) {
		return func(ip4 *layers.IPv4, _ *layers.IPv6, _ *layers.UDP) { ip4.Flags, ip4.FragOffset = f, offset }
	}
	return []programCase{
		{name: "options", only: 4, payload: plainData, action: next, layers: func(ip4 *layers.IPv4, _ *layers.IPv6, _ *layers.UDP) {
			ip4.Options = []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: make([]byte, 5)}}
		}},
		{name: "first fragment", only: 4, payload: plainData, action: next, layers: flags(layers.IPv4MoreFragments, 0)},
		{name: "last fragment", only: 4, payload: plainData, action: next, layers: flags(0, 100)},
		{name: "extension header", only: 6, payload: plainData, action: next, mangle: hopByHop},
		{name: "fragment header", only: 6, payload: plainData, action: next, mangle: fragmentHeader},
		{name: "not UDP", payload: plainData, action: next, layers: func(ip4 *layers.IPv4, ip6 *layers.IPv6, _ *layers.UDP) {
			ip4.Protocol, ip6.NextHeader = layers.IPProtocolUDPLite, layers.IPProtocolUDPLite
		}},
		{name: "ARP", payload: plainData, action: next, mangle: func(frame []byte) []byte {
			binary.BigEndian.PutUint16(frame[12:], uint16(layers.EthernetTypeARP))
			return frame
		}},
		{name: "runt", payload: plainData[:15], action: next},
		{name: "runt, padded", payload: plainData[:15], action: next, mangle: pad},
		{name: "empty", payload: nil, action: next},
		{name: "cut in the SRT header", only: 4, payload: plainData, action: next, mangle: cut(udp4At + 8 + 15)},
		{name: "cut in the UDP header", only: 6, payload: plainData, action: next, mangle: cut(udp6At + 7)},
		{name: "cut in the payload", payload: plainData, action: next, mangle: func(frame []byte) []byte { return frame[:len(frame)-1] }},
		{name: "UDP length too short", payload: plainData, action: next, mangle: udpLength(-1)},
		{name: "UDP length too long", payload: plainData, action: next, mangle: udpLength(1)},
		{name: "UDP length 0", payload: plainData, action: next, mangle: udpLength(-8 - len(plainData))},
		{name: "lengths too short for UDP", payload: plainData, action: next, mangle: shortLengths},
		{name: "IP version", payload: plainData, action: next, mangle: func(frame []byte) []byte {
			frame[ipAt] = 0x55
			return frame
		}},
	}
}

// hopByHop puts an extension header between IPv6 and UDP.
func hopByHop(frame []byte) []byte {
	return extension(frame, layers.IPProtocolIPv6HopByHop, []byte{17, 0, 1, 4, 0, 0, 0, 0})
}

func fragmentHeader(frame []byte) []byte {
	return extension(frame, layers.IPProtocolIPv6Fragment, []byte{17, 0, 0, 0, 0, 0, 0, 1})
}

func extension(frame []byte, kind layers.IPProtocol, header []byte) []byte {
	frame = slices.Insert(frame, udp6At, header...)
	frame[ipAt+6] = byte(kind)
	binary.BigEndian.PutUint16(frame[ipAt+4:], uint16(len(frame)-udp6At))
	return frame
}

// shortLengths has both lengths say that there is less than a UDP header.
func shortLengths(frame []byte) []byte {
	binary.BigEndian.PutUint16(frame[udpAt(frame)+4:], 4)
	if frame[ipAt]>>4 == 4 {
		binary.BigEndian.PutUint16(frame[ipAt+2:], 24)
	} else {
		binary.BigEndian.PutUint16(frame[ipAt+4:], 4)
	}
	return frame
}

// trainCases are packets that GRO has made of several datagrams.
func trainCases(r *rig) []programCase {
	data := func(seq uint32, n int) wire.Packet { return dataOf(seq, plain, backendID, n) }
	other := dataOf(1, plain, backendID+1, 84)
	shutdown := wire.Packet(wire.AppendShutdown(nil, 0, backendID))
	tight := r.toDevice("198.51.100.2", 20+8+100)
	three := train(data(1, 84), data(2, 84), data(3, 84))
	return []programCase{
		{name: "train", payload: three, ctx: segments(100), action: redirect, packets: 3, next: 4},
		{name: "train, last one short", payload: train(data(1, 84), data(2, 4)), ctx: segments(100), action: redirect, packets: 2, next: 3},
		{name: "train with gaps", payload: train(data(1, 84), data(3, 84), data(9, 84)), ctx: segments(100), action: redirect, packets: 3, next: 10, records: 2},
		{name: "train with an ACK", payload: train(data(1, 84), data(2, 84), control(wire.TypeACK, 1)), ctx: segments(100), action: redirect, packets: 3, next: 3, records: 1},
		{name: "train of one", payload: data(1, 84), ctx: segments(100), action: redirect, packets: 1, next: 2},
		{name: "train as long as the MTU", only: 4, hop: &tight, payload: three, ctx: segments(100), action: redirect, packets: 3, next: 4},
		{name: "train longer than the MTU", only: 4, hop: &tight, payload: train(data(1, 85), data(2, 85)), ctx: segments(101), action: next, reason: "mtu"},
		{name: "mixed train", payload: train(data(1, 84), other), ctx: segments(100), action: next, reason: "mixed_train"},
		{name: "train with a runt", payload: append(data(1, 84), make([]byte, 15)...), ctx: segments(100), action: next, reason: "mixed_train"},
		{name: "train that ends in a SHUTDOWN", payload: train(data(1, 84), data(2, 84), shutdown), ctx: segments(100), action: next, reason: "type"},
		{name: "train that begins with a handshake", payload: train(controlOf(wire.TypeHandshake, 0, 0, backendID, make([]uint32, 21)...), data(1, 84)), ctx: segments(100), action: next, reason: "type"},
		{name: "train of runts", payload: three, ctx: segments(15), action: next},
	}
}
