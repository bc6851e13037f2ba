package kernelpath

import (
	"bytes"
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"srtrelay/addr"
	"srtrelay/observe/telemetry"
	"srtrelay/wire"
)

// rig is a path with the sessions of a test, whose program is run by BPF_PROG_TEST_RUN.
type rig struct {
	*Path
	t      testing.TB
	n      *namespace
	shard  *Shard
	device uint32 // the index of the device that datagrams come in by
	gen    uint32
	out    []byte
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigWith(t, math.MaxUint64)
}

// newRigWith returns a rig whose path has no other capabilities than these.
func newRigWith(t testing.TB, capabilities uint64) *rig {
	t.Helper()
	n := newNamespace(t)
	n.addDevice(t, pair("eth"), "198.51.100.1/24", "2001:db8::1/64")
	n.do(t, func() error { return setCapabilities(capabilities) })
	p := n.open(t)
	return &rig{
		Path: p, t: t, n: n, shard: p.Shard(0), device: uint32(n.index(t, "eth")), out: make([]byte, 4096),
	}
}

// Socket IDs of the sessions of a rig.
const (
	callerID  = 0x0a0b0c0d
	backendID = 0x01020304
)

func session4() Session {
	return Session{
		Caller: endpoint("192.0.2.1:40000"), Front: endpoint("198.51.100.1:20080"),
		Upstream: endpoint("127.0.0.1:30000"), Backend: endpoint("127.0.0.2:10080"),
		CallerID: callerID, BackendID: backendID,
	}
}

func session6() Session {
	return Session{
		Caller: endpoint("[2001:db8::2]:40000"), Front: endpoint("[2001:db8::1]:20080"),
		Upstream: endpoint("[::1]:30000"), Backend: endpoint("[::1]:10080"),
		CallerID: callerID, BackendID: backendID,
	}
}

func endpoint(s string) addr.AddrPort { return addr.From(netip.MustParseAddrPort(s)) }

// Hops of a rig: to a socket of this host, and by a device to a next hop.
func toLoopback() hop { return hop{action: pathActionTO_LOOPBACK, mtu: 0xffff, device: loopback} }

func (r *rig) toDevice(next string, mtu uint16) hop {
	return hop{action: pathActionTO_DEVICE, mtu: mtu, device: r.device, next: addr.FromIP(netip.MustParseAddr(next))}
}

// near is a hop to another host, in either address family.
func (r *rig) near() hop { return r.toDevice("198.51.100.2", 1500) }

// enter enters a session whose ways are on.
func (r *rig) enter(e Session, toBackend, toCaller hop) Session {
	r.t.Helper()
	r.gen++
	e.Gen = r.gen
	r.shard.Reset(e.Place, e.Gen)
	for way := range 2 {
		w := r.shard.Way(e.Place, way)
		w.SetSequence(telemetry.Sequence{Next: 1}, true)
		w.setOn()
	}
	if err := r.shard.put(&e, toBackend, toCaller); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.shard.Leave(&e) })
	return e
}

// setOn hands a way over at once. Nothing of it may be under way.
func (w Way) setOn() { atomic.StoreUint32(&w.shared.Mode, uint32(On)) }

// skb is the context that BPF_PROG_TEST_RUN takes: struct __sk_buff of linux/bpf.h.
type skb struct {
	_              [9]uint32
	IngressIfindex uint32
	Ifindex        uint32
	_              [25]uint32
	_              [2]uint64
	_              [2]uint32 // wire_len and gso_segs
	_              uint64
	GSOSize        uint32
	_              uint32
	_              uint64
}

// What the program returns.
const (
	next     = -1 // TCX_NEXT
	shot     = 2  // TC_ACT_SHOT
	redirect = 7  // TC_ACT_REDIRECT
)

// run runs the program on a frame, and returns what it has made of it.
func (r *rig) run(frame []byte, ctx skb, flags uint32) (action int32, out []byte) {
	r.t.Helper()
	if ctx.Ifindex == 0 {
		ctx.Ifindex = r.device
	}
	options := &ebpf.RunOptions{Data: frame, DataOut: r.out, Context: &ctx, Flags: flags}
	r.n.do(r.t, func() error {
		code, err := r.objects.Relay.Run(options)
		action = int32(code)
		return err
	})
	return action, options.DataOut
}

// frameOf builds a frame from one end to another. change may alter the layers.
func frameOf(from, to addr.AddrPort, payload []byte, change ...func(*layers.IPv4, *layers.IPv6, *layers.UDP)) []byte {
	ether := &layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2},
		EthernetType: layers.EthernetTypeIPv4,
	}
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port), DstPort: layers.UDPPort(to.Port)}
	ip4 := &layers.IPv4{
		Version: 4, TTL: 61, Id: 0x1234, Protocol: layers.IPProtocolUDP,
		SrcIP: from.IP.Netip().AsSlice(), DstIP: to.IP.Netip().AsSlice(),
	}
	ip6 := &layers.IPv6{
		Version: 6, HopLimit: 61, NextHeader: layers.IPProtocolUDP, FlowLabel: 0x12345,
		SrcIP: from.IP.Netip().AsSlice(), DstIP: to.IP.Netip().AsSlice(),
	}
	ip := gopacket.SerializableLayer(ip4)
	_ = udp.SetNetworkLayerForChecksum(ip4)
	if !from.Is4() {
		ether.EthernetType, ip = layers.EthernetTypeIPv6, ip6
		_ = udp.SetNetworkLayerForChecksum(ip6)
	}
	for _, fn := range change {
		fn(ip4, ip6, udp)
	}
	b := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, options, ether, ip, udp, gopacket.Payload(payload)); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Message words of solo packets.
const (
	plain  = 3<<30 | 1
	rexmit = plain | wire.RexmitBit
	even   = plain | 1<<wire.KeyShift
	odd    = plain | 2<<wire.KeyShift
	filter = 3 << 30
)

// dataOf builds a data packet.
func dataOf(seq, word, id uint32, payload int) wire.Packet {
	b := make([]byte, wire.HeaderSize+payload)
	binary.BigEndian.PutUint32(b, seq&wire.SequenceMask)
	binary.BigEndian.PutUint32(b[4:], word)
	wire.Packet(b).SetTimestamp(seq * 1000)
	wire.Packet(b).SetDestID(id)
	for i := range b[wire.HeaderSize:] {
		b[wire.HeaderSize+i] = byte(int(seq) + i)
	}
	return b
}

// controlOf builds a control packet.
func controlOf(t wire.ControlType, subtype uint16, number, id uint32, words ...uint32) wire.Packet {
	b := make([]byte, wire.HeaderSize)
	wire.PutControl(b, t, number*1000, id)
	binary.BigEndian.PutUint16(b[2:], subtype)
	binary.BigEndian.PutUint32(b[4:], number)
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// wantRewritten checks a frame that the program has rewritten: it has the addresses, the
// hop limit and the checksums of a datagram that the relay has sent, and the payload is
// as it was.
func wantRewritten(t testing.TB, in, out []byte, from, to addr.AddrPort) {
	t.Helper()
	sent := gopacket.NewPacket(out, layers.LayerTypeEthernet, gopacket.Default)
	came := gopacket.NewPacket(in, layers.LayerTypeEthernet, gopacket.Default)
	udp, ok := sent.TransportLayer().(*layers.UDP)
	old := came.TransportLayer().(*layers.UDP)
	if !ok || len(out) != len(in) {
		t.Fatalf("what was sent on is no datagram of %d bytes: %v", len(in), sent)
	}
	src, dst := sent.NetworkLayer().NetworkFlow().Endpoints()
	got := func(e gopacket.Endpoint, port layers.UDPPort) netip.AddrPort {
		ip, _ := netip.AddrFromSlice(e.Raw())
		return netip.AddrPortFrom(ip, uint16(port))
	}
	if s, d := got(src, udp.SrcPort), got(dst, udp.DstPort); s != from.Netip() || d != to.Netip() {
		t.Errorf("sent on from %s to %s, want %s and %s", s, d, from, to)
	}
	if !bytes.Equal(udp.Payload, old.Payload) {
		t.Error("the payload has changed")
	}
	switch ip := sent.NetworkLayer().(type) {
	case *layers.IPv4:
		was := came.NetworkLayer().(*layers.IPv4)
		if ip.TTL != 64 || ip.Flags&layers.IPv4DontFragment != 0 || ip.TOS != was.TOS {
			t.Errorf("TTL %d, flags %v, TOS %d", ip.TTL, ip.Flags, ip.TOS)
		}
		if was.Flags&layers.IPv4DontFragment == 0 && ip.Id != was.Id {
			t.Errorf("IP ID %#x, was %#x", ip.Id, was.Id)
		}
	case *layers.IPv6:
		was := came.NetworkLayer().(*layers.IPv6)
		if ip.HopLimit != 64 || ip.FlowLabel != was.FlowLabel || ip.TrafficClass != was.TrafficClass {
			t.Errorf("hop limit %d, flow label %#x, class %d", ip.HopLimit, ip.FlowLabel, ip.TrafficClass)
		}
	}
	if ip, ok := sent.NetworkLayer().(*layers.IPv4); ok {
		if err, result := ip.VerifyChecksum(); err != nil || !result.Valid {
			t.Errorf("IP checksum %#x, want %#x (%v)", result.Actual, result.Correct, err)
		}
	}
	if old.Checksum == 0 {
		if udp.Checksum != 0 {
			t.Errorf("UDP checksum %#x, was none", udp.Checksum)
		}
		return
	}
	_ = udp.SetNetworkLayerForChecksum(sent.NetworkLayer())
	if err, result := udp.VerifyChecksum(); err != nil || !result.Valid {
		t.Errorf("UDP checksum %#x, want %#x (%v)", result.Actual, result.Correct, err)
	}
}

func sequence(next uint32) telemetry.Sequence { return telemetry.Sequence{Next: next} }
