package pcapng

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"srtrelay/addr"
	"srtrelay/observe/capture"
	"srtrelay/wire"
)

func at(text string) addr.AddrPort { return addr.From(netip.MustParseAddrPort(text)) }

var (
	origin = time.Date(2031, 2, 3, 4, 5, 6, 789_012_345, time.UTC)
	ends4  = capture.Ends{
		Caller: at("192.0.2.1:4001"), Front: at("192.0.2.9:20080"),
		Upstream: at("198.51.100.9:5001"), Backend: at("198.51.100.2:10080"),
	}
	ends6 = capture.Ends{
		Caller: at("[2001:db8:1::1]:4001"), Front: at("[2001:db8:1::9]:20080"),
		Upstream: at("[2001:db8:2::9]:5001"), Backend: at("[2001:db8:2::2]:10080"),
	}
)

// srt builds a datagram of recognizable bytes.
func srt(sequence uint32, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i)
	}
	b[0], b[1], b[2], b[3] = byte(sequence>>24), byte(sequence>>16), byte(sequence>>8), byte(sequence)
	wire.Packet(b).SetDestID(0xABCD)
	return b
}

// file is what reading a capture back gives.
type file struct {
	section    pcapgo.NgSectionInfo
	interfaces []pcapgo.NgInterface
	packets    []readPacket
}

type readPacket struct {
	info   gopacket.CaptureInfo
	packet gopacket.Packet
	flags  pcapgo.NgEpbFlags
}

func read(t *testing.T, b []byte) file {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatalf("read back: %v", err)
	}
	f := file{section: r.SectionInfo()}
	for {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("packet %d: %v", len(f.packets), err)
		}
		p := readPacket{info: info, packet: gopacket.NewPacket(data, layers.LinkTypeRaw, gopacket.Default)}
		if options.Flags != nil {
			p.flags = *options.Flags
		}
		f.packets = append(f.packets, p)
	}
	for i := range r.NInterfaces() {
		one, err := r.Interface(i)
		if err != nil {
			t.Fatal(err)
		}
		f.interfaces = append(f.interfaces, one)
	}
	return f
}

// endsOf returns who sent a packet and to whom, and its UDP layer.
func (p readPacket) endsOf(t *testing.T) (from, to netip.AddrPort, u *layers.UDP) {
	t.Helper()
	u, ok := p.packet.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if !ok {
		t.Fatalf("no UDP in %v", p.packet)
	}
	src, _ := netip.AddrFromSlice(p.packet.NetworkLayer().NetworkFlow().Src().Raw())
	dst, _ := netip.AddrFromSlice(p.packet.NetworkLayer().NetworkFlow().Dst().Raw())
	return netip.AddrPortFrom(src, uint16(u.SrcPort)), netip.AddrPortFrom(dst, uint16(u.DstPort)), u
}

func TestForwardedDatagramIsOnBothLegs(t *testing.T) {
	for name, e := range map[string]capture.Ends{
		"IPv4": ends4, "IPv6": ends6,
		"IPv6 caller, IPv4 backend": {Caller: ends6.Caller, Front: ends6.Front, Upstream: ends4.Upstream, Backend: ends4.Backend},
	} {
		for _, cut := range []int{16, 101, 102} {
			t.Run(fmt.Sprintf("%s, %d bytes", name, cut), func(t *testing.T) {
				var b bytes.Buffer
				w, err := newWriter(&b, origin, 1<<20, "srtrelay test", "stream x")
				if err != nil {
					t.Fatal(err)
				}
				whole := srt(77, 102)
				if cut == 101 {
					whole = whole[:101] // odd, and whole
				}
				up := capture.Record{
					At: 1_000_000_001, How: capture.ToBackend | capture.Forwarded, Ends: e,
					Length: len(whole), Data: whole[:cut],
				}
				down := up
				down.At, down.How = 2_000_000_002, capture.ToCaller|capture.Forwarded
				for _, rec := range []*capture.Record{&up, &down} {
					if fits, err := w.Write(rec); !fits || err != nil {
						t.Fatal(fits, err)
					}
				}
				size := w.Size()
				if err := w.Close(origin, origin.Add(time.Second), [2]uint64{5, 6}); err != nil {
					t.Fatal(err)
				}
				if grown := int64(b.Len()) - size; grown > closingSize || grown <= 0 {
					t.Errorf("the end of the file is %d bytes, at most %d are kept free for it", grown, closingSize)
				}
				f := read(t, b.Bytes())
				want := []struct {
					at       time.Duration
					leg      capture.Leg
					way      pcapgo.NgEpbFlag
					from, to addr.AddrPort
				}{
					{up.At, capture.LegCallers, pcapgo.NgEpbFlagDirectionInbound, e.Caller, e.Front},
					{up.At, capture.LegBackends, pcapgo.NgEpbFlagDirectionOutbound, e.Upstream, e.Backend},
					{down.At, capture.LegBackends, pcapgo.NgEpbFlagDirectionInbound, e.Backend, e.Upstream},
					{down.At, capture.LegCallers, pcapgo.NgEpbFlagDirectionOutbound, e.Front, e.Caller},
				}
				if len(f.packets) != len(want) {
					t.Fatalf("%d packets, want %d", len(f.packets), len(want))
				}
				for i, p := range f.packets {
					from, to, u := p.endsOf(t)
					if from != want[i].from.Netip() || to != want[i].to.Netip() {
						t.Errorf("packet %d is from %v to %v, want %v", i, from, to, want[i])
					}
					if p.info.InterfaceIndex != int(want[i].leg) || p.flags.Direction != want[i].way {
						t.Errorf("packet %d: interface %d, direction %b, want %v", i, p.info.InterfaceIndex, p.flags.Direction, want[i])
					}
					if !p.info.Timestamp.Equal(origin.Add(want[i].at)) {
						t.Errorf("packet %d at %v, want %v", i, p.info.Timestamp, origin.Add(want[i].at))
					}
					if !bytes.Equal(u.Payload, whole[:cut]) {
						t.Errorf("packet %d has %x, want %x", i, u.Payload, whole[:cut])
					}
					headers := p.info.CaptureLength - cut
					if p.info.Length != headers+len(whole) || int(u.Length) != udpHeader+len(whole) {
						t.Errorf("packet %d: length %d and in UDP %d, of a datagram of %d", i, p.info.Length, u.Length, len(whole))
					}
					checkSums(t, p.packet, u, cut == len(whole))
				}
				if f.section.Application != "srtrelay test" || f.section.Comment != "stream x" {
					t.Errorf("section %+v", f.section)
				}
				for l, one := range f.interfaces {
					if one.Name != legs[l].Name || one.LinkType != layers.LinkTypeRaw ||
						one.Statistics.PacketsReceived != 2+5+uint64(l) || one.Statistics.PacketsDropped != 5+uint64(l) {
						t.Errorf("interface %d: %+v", l, one)
					}
				}
			})
		}
	}
}

// checkSums holds the checksums against the library's own; a datagram that is
// cut has none.
func checkSums(t *testing.T, p gopacket.Packet, u *layers.UDP, whole bool) {
	t.Helper()
	serialize := func(ls ...gopacket.SerializableLayer) []byte {
		b := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{ComputeChecksums: true}, ls...); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if ip, ok := p.NetworkLayer().(*layers.IPv4); ok {
		got := ip.Checksum
		if want := serialize(ip); int(got) != int(want[10])<<8|int(want[11]) {
			t.Errorf("IPv4 header checksum %x, want %x", got, want[10:12])
		}
	}
	if !whole {
		if u.Checksum != 0 {
			t.Errorf("checksum %x of a datagram that is cut", u.Checksum)
		}
		return
	}
	got := u.Checksum
	if err := u.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
		t.Fatal(err)
	}
	if want := serialize(u, gopacket.Payload(u.Payload)); int(got) != int(want[6])<<8|int(want[7]) {
		t.Errorf("UDP checksum %x, want %x", got, want[6:8])
	}
}

// What the relay answers or drops was received only, what it makes itself was
// sent only.
func TestOneLegOnly(t *testing.T) {
	for how, want := range map[capture.How]struct {
		leg      capture.Leg
		from, to addr.AddrPort
	}{
		capture.ToBackend | capture.Received: {capture.LegCallers, ends4.Caller, ends4.Front},
		capture.ToBackend | capture.Sent:     {capture.LegBackends, ends4.Upstream, ends4.Backend},
		capture.ToCaller | capture.Received:  {capture.LegBackends, ends4.Backend, ends4.Upstream},
		capture.ToCaller | capture.Sent:      {capture.LegCallers, ends4.Front, ends4.Caller},
	} {
		var b bytes.Buffer
		w, err := newWriter(&b, origin, 1<<20, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(&capture.Record{How: how, Ends: ends4, Length: 20, Data: srt(1, 20)}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(origin, origin, [2]uint64{}); err != nil {
			t.Fatal(err)
		}
		f := read(t, b.Bytes())
		if len(f.packets) != 1 {
			t.Fatalf("%b: %d packets, want one", how, len(f.packets))
		}
		from, to, _ := f.packets[0].endsOf(t)
		if f.packets[0].info.InterfaceIndex != int(want.leg) || from != want.from.Netip() || to != want.to.Netip() {
			t.Errorf("%b: on interface %d from %v to %v, want %v", how, f.packets[0].info.InterfaceIndex, from, to, want)
		}
	}
}

// An upstream socket that is bound to no address sends from the one that the
// routing table gives.
func TestUpstreamAddressIsTheRoutes(t *testing.T) {
	for _, backend := range []string{"127.0.0.1:10080", "[::1]:10080"} {
		e := capture.Ends{Upstream: addr.AddrPort{Port: 5001}, Backend: at(backend)}
		var b bytes.Buffer
		w, err := newWriter(&b, origin, 1<<20, "", "")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := w.Write(&capture.Record{How: capture.ToBackend | capture.Sent, Ends: e, Length: 20, Data: srt(1, 20)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		from, to, _ := read(t, b.Bytes()).packets[1].endsOf(t)
		if to.String() != backend || from.Port() != 5001 {
			t.Errorf("from %v to %v, want from port 5001 to %s", from, to, backend)
		}
		// A host without IPv6 has no route, and then there is no address.
		if from.Addr() != to.Addr() && !from.Addr().IsUnspecified() {
			t.Errorf("from %v to %v", from, to)
		}
	}
}

// The file ends where its limit is, with its statistics in it.
func TestLimitOfBytes(t *testing.T) {
	for _, limit := range []int64{4096, 5000, 5001, 100_000} {
		var b bytes.Buffer
		w, err := newWriter(&b, origin, limit, "srtrelay", strings.Repeat("x", 2*maxComment/3))
		if err != nil {
			t.Fatal(err)
		}
		written := 0
		for {
			fits, err := w.Write(&capture.Record{How: capture.Forwarded, Ends: ends6, Length: 1316, Data: srt(1, 16)})
			if err != nil {
				t.Fatal(err)
			}
			if !fits {
				break
			}
			written++
		}
		if err := w.Close(origin, origin, [2]uint64{}); err != nil {
			t.Fatal(err)
		}
		if int64(b.Len()) > limit || int64(b.Len()) < limit-2*(blockSize+maxHeaders+16)-closingSize {
			t.Errorf("limit %d: the file has %d bytes", limit, b.Len())
		}
		f := read(t, b.Bytes())
		if len(f.packets) != 2*written || f.interfaces[1].Statistics.PacketsReceived != uint64(written) {
			t.Errorf("limit %d: %d packets, statistics %+v, want %d datagrams", limit, len(f.packets), f.interfaces[1].Statistics, written)
		}
	}
}

// A comment that no option can hold is cut.
func TestLongComment(t *testing.T) {
	var b bytes.Buffer
	w, err := newWriter(&b, origin, 1<<20, "srtrelay", "x"+strings.Repeat("é", 100_000))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(origin, origin, [2]uint64{}); err != nil {
		t.Fatal(err)
	}
	if f := read(t, b.Bytes()); len(f.section.Comment) != maxComment-1 || !utf8.ValidString(f.section.Comment) {
		t.Errorf("a comment of %d bytes, and not at the end of a letter", len(f.section.Comment))
	}
}

func BenchmarkWrite(b *testing.B) {
	w, err := newWriter(io.Discard, origin, 1<<62, "", "")
	if err != nil {
		b.Fatal(err)
	}
	rec := capture.Record{How: capture.Forwarded, Ends: ends4, Length: 1332, Data: srt(1, 16)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Write(&rec); err != nil {
			b.Fatal(err)
		}
	}
}
