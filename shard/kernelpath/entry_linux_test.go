package kernelpath

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"srtrelay/addr"
)

// fold makes a 16-bit ones' complement sum of one of 32 bits.
func fold(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// add adds up 16-bit words in the byte order of the host.
func add(sum uint64, b []byte) uint64 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint64(binary.NativeEndian.Uint16(b))
	}
	return sum
}

func randomEnd(random *rand.Rand, is4 bool) (a addr.AddrPort) {
	for i := range a.IP {
		// Many zeros and ones: where a ones' complement sum has two zeros.
		a.IP[i] = []byte{0, 0xff, byte(random.Uint32())}[random.IntN(3)]
	}
	if is4 {
		clear(a.IP[:10])
		a.IP[10], a.IP[11] = 0xff, 0xff
	}
	a.Port = []uint16{0, 0xffff, uint16(random.Uint32())}[random.IntN(3)]
	return a
}

// What sumDelta says changes a checksum as a full recomputation does (RFC 1624).
func TestSumDelta(t *testing.T) {
	random := rand.New(rand.NewPCG(1624, 0))
	for i := range 100_000 {
		is4 := i%2 == 0
		in := ends{randomEnd(random, is4), randomEnd(random, is4)}
		out := ends{randomEnd(random, is4), randomEnd(random, is4)}
		rest := uint64(random.Uint32()) // payload, protocol, length
		full := func(e ends) uint16 {
			sum := rest
			for _, a := range []addr.AddrPort{e.from, e.to} {
				sum = add(add(sum, addressBytes(a)), portBytes(a))
			}
			return ^fold(sum)
		}
		pseudo, ports := sumDelta(in, out, addressBytes), sumDelta(in, out, portBytes)
		got := ^fold(uint64(^full(in)) + uint64(pseudo) + uint64(ports))
		// 0 and 0xffff are the same number; the program never writes 0.
		if want := full(out); got%0xffff != want%0xffff {
			t.Fatalf("%v becomes %v: checksum %#x, want %#x", in, out, got, want)
		}
	}
}

// Keys and hops have addresses, ports and IDs as they stand on the wire.
func TestEntriesAreAsOnTheWire(t *testing.T) {
	wire := func(v any) []byte {
		b, err := binary.Append(nil, binary.NativeEndian, v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	e, e6 := session4(), session6()
	for _, c := range []struct {
		name      string
		got, want []byte
	}{
		{"IPv4 address", wire(word4(e.Caller.IP)), []byte{192, 0, 2, 1}},
		{"port", wire(bigPort(20080)), []byte{0x4e, 0x70}},
		{"ID", wire(bigID(0x01020304)), []byte{1, 2, 3, 4}},
		{"IPv6 address", wire(words6(e6.Caller.IP)), e6.Caller.IP[:]},
	} {
		if string(c.got) != string(c.want) {
			t.Errorf("%s: %x, want %x", c.name, c.got, c.want)
		}
	}
}
