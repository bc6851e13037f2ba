package udp

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

// message is one control message as the kernel lays it out.
func message(level, kind int32, content ...byte) []byte {
	b := make([]byte, headerSize+len(content)+wordSize)
	at, n := putHeader(b, level, kind, len(content))
	copy(at, content)
	return b[:n]
}

func native32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// withLength overwrites the length a control message announces.
func withLength(b []byte, n uint64) []byte {
	b = slices.Clone(b)
	binary.NativeEndian.PutUint64(b, n)
	return b
}

func TestParseControl(t *testing.T) {
	gro := message(unix.SOL_UDP, unix.UDP_GRO, native32(1332)...)
	local4 := message(unix.SOL_IP, unix.IP_PKTINFO, 1, 0, 0, 0, 127, 0, 0, 2, 127, 255, 255, 255)
	local6 := message(unix.SOL_IPV6, unix.IPV6_PKTINFO, append(make([]byte, 15), 1, 1, 0, 0, 0)...)
	unknown := message(unix.SOL_SOCKET, unix.SCM_TIMESTAMP, make([]byte, 16)...)
	ip4, ip6 := mapped([4]byte{127, 0, 0, 2}), addr.IP{15: 1}
	tests := []struct {
		name string
		b    []byte
		want control
	}{
		{"nothing", nil, control{}},
		{"stride", gro, control{stride: 1332}},
		{"all", slices.Concat(gro, local6), control{stride: 1332, local: ip6}},
		{"IPv4", slices.Concat(local4, gro), control{stride: 1332, local: ip4}},
		{"behind an unknown one", slices.Concat(unknown, gro), control{stride: 1332}},
		{"last one unpadded", gro[:headerSize+4], control{stride: 1332}},
		{"stride of two bytes", message(unix.SOL_UDP, unix.UDP_GRO, 1, 2), control{}},
		{"negative stride", message(unix.SOL_UDP, unix.UDP_GRO, native32(math.MaxUint32)...), control{}},
		{"wrong level", message(unix.SOL_SOCKET, unix.UDP_GRO, native32(9)...), control{}},
		{"short address", message(unix.SOL_IPV6, unix.IPV6_PKTINFO, make([]byte, 19)...), control{}},
		{"cut in the content", slices.Concat(local4, gro[:headerSize+3]), control{local: ip4}},
		{"cut in the header", slices.Concat(local4, gro[:headerSize-1]), control{local: ip4}},
		{"length 0", slices.Concat(withLength(gro, 0), local4), control{}},
		{"length below the header", withLength(gro, uint64(headerSize-1)), control{}},
		{"length past the end", slices.Concat(local4, withLength(gro, 100)), control{local: ip4}},
		// Added to an offset or rounded up it would wrap around.
		{"length of all ones", withLength(gro, math.MaxUint64), control{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := parseControl(test.b); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestPutControl(t *testing.T) {
	for _, is4 := range []bool{true, false} {
		ip := mapped([4]byte{127, 0, 0, 2})
		b := slices.Repeat([]byte{0xAA}, sendControlSize) // of an earlier message
		n := putSource(b, &ip, is4)
		if got := parseControl(b[:n]); got != (control{local: ip}) {
			t.Errorf("source reads back as %+v", got)
		}
		if b[headerSize] != 0 && is4 {
			t.Error("interface index is not 0")
		}
		n += putSegment(b[n:], 1332)
		if n > sendControlSize {
			t.Errorf("%d bytes do not fit", n)
		}
		_, _, _, rest, _ := nextControl(b[:n])
		level, kind, content, _, ok := nextControl(rest)
		if !ok || level != unix.SOL_UDP || kind != unix.UDP_SEGMENT || len(content) != 2 ||
			binary.NativeEndian.Uint16(content) != 1332 {
			t.Errorf("segment size reads back as %v %d %d %v", ok, level, kind, content)
		}
	}
}

func TestParseError(t *testing.T) {
	content := slices.Concat(native32(uint32(unix.ECONNREFUSED)), []byte{2, 3, 3, 0}, make([]byte, 24))
	for _, b := range [][]byte{
		message(unix.SOL_IP, unix.IP_RECVERR, content...),
		slices.Concat(message(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, native32(1)...), message(unix.SOL_IPV6, unix.IPV6_RECVERR, content...)),
	} {
		e, found := parseError(b)
		if !found || e.Errno != uint32(unix.ECONNREFUSED) || e.Origin != 2 || e.Type != 3 || e.Code != 3 {
			t.Errorf("got %+v, %v", e, found)
		}
	}
	if _, found := parseError(message(unix.SOL_IP, unix.IP_RECVERR, content[:15]...)); found {
		t.Error("an error cut short was found")
	}
}

// FuzzControlMessages: any bytes end the parsers, and what is split off lies
// inside of them.
func FuzzControlMessages(f *testing.F) {
	gro := message(unix.SOL_UDP, unix.UDP_GRO, native32(1332)...)
	f.Add(gro)
	f.Add(withLength(gro, math.MaxUint64))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c := parseControl(b); c.stride < 0 {
			t.Errorf("stride %d", c.stride)
		}
		parseError(b)
		for rest := b; ; {
			_, _, content, next, ok := nextControl(rest)
			if !ok {
				break
			}
			if len(next) > len(rest)-headerSize || len(content) > len(rest)-headerSize {
				t.Fatalf("of %d bytes: %d content, %d rest", len(rest), len(content), len(next))
			}
			rest = next
		}
		if len(b) > 0 { // unaligned
			parseControl(b[1:])
		}
	})
}

// The bug: the answer to a datagram that came to a link-local address named no
// interface, and the kernel refused it (EINVAL). What IPV6_PKTINFO brings of the
// interface goes out again with such an address, and with no other.
func TestSourceNamesTheInterfaceOfALinkLocalAddress(t *testing.T) {
	for s, want := range map[string]uint32{"fe80::1": 7, "2001:db8::1": 0, "::1": 0} {
		var in, out [sendControlSize]byte
		content, n := putHeader(in[:], unix.SOL_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
		ip := netip.MustParseAddr(s).As16()
		copy(content, ip[:])
		binary.NativeEndian.PutUint32(content[16:], 7)
		local := parseControl(in[:n]).local
		_, _, content, _, ok := nextControl(out[:putSource(out[:], &local, false)])
		if !ok || [16]byte(content[:16]) != ip || binary.NativeEndian.Uint32(content[16:]) != want {
			t.Errorf("%s leaves as %x, want interface %d", s, content, want)
		}
	}
}
