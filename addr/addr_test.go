package addr

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"testing"
)

func from(s string) AddrPort { return From(netip.MustParseAddrPort(s)) }

// The same caller is equal to itself on an IPv4 and on a dual-stack socket.
func TestMappedIsIPv4(t *testing.T) {
	plain, mapped := from("192.0.2.1:9000"), from("[::ffff:192.0.2.1]:9000")
	if plain != mapped {
		t.Errorf("%v is not %v", plain, mapped)
	}
	if plain.Hash(7) != mapped.Hash(7) {
		t.Error("equal addresses hash apart")
	}
	if FromIP(netip.MustParseAddr("192.0.2.1")) != plain.IP {
		t.Error("FromIP and From differ")
	}
	// A mapped address has no scope, whatever the text says.
	if got := from("[::ffff:192.0.2.1%3]:9000"); got != plain {
		t.Errorf("zone %d made another address of it", got.Zone)
	}
}

func TestEveryFieldCounts(t *testing.T) {
	all := []string{
		"192.0.2.1:9000", "192.0.2.1:9001", "192.0.2.2:9000", "[2001:db8::1]:9000",
		"[::192.0.2.1]:9000", "[fe80::1%2]:9000", "[fe80::1%3]:9000", "[fe80::1]:9000",
	}
	seen := map[AddrPort]string{}
	hashes := map[uint64]string{}
	for _, s := range all {
		a := from(s)
		if other, ok := seen[a]; ok {
			t.Errorf("%s equals %s", s, other)
		}
		if other, ok := hashes[a.Hash(1)]; ok {
			t.Errorf("%s hashes like %s", s, other)
		}
		seen[a], hashes[a.Hash(1)] = s, s
	}
}

func TestNetipRoundTrip(t *testing.T) {
	for _, s := range []string{
		"127.0.0.1:1", "255.255.255.255:65535", "0.0.0.0:20080", "[::1]:20080", "[::]:0",
		"[2001:db8::1]:443", "[fe80::1%2]:9000", "[fe80::1%4294967295]:9000",
	} {
		ap := netip.MustParseAddrPort(s)
		if got := From(ap).Netip(); got != ap {
			t.Errorf("%s came back as %v", s, got)
		}
		if got := From(ap).String(); got != s {
			t.Errorf("%s prints as %s", s, got)
		}
	}
	if got := from("[::ffff:10.0.0.1]:5").String(); got != "10.0.0.1:5" {
		t.Errorf("mapped prints as %s", got)
	}
}

func TestZone(t *testing.T) {
	for s, want := range map[string]uint32{
		"[fe80::1%7]:1":          7,
		"[fe80::1]:1":            0,
		"[fe80::1%eth0]:1":       0,
		"[fe80::1%4294967295]:1": math.MaxUint32,
		"[fe80::1%4294967296]:1": 0, // not the highest zone there is
		"[fe80::1%-1]:1":         0,
	} {
		if got := from(s).Zone; got != want {
			t.Errorf("%s: zone %d, want %d", s, got, want)
		}
	}
}

func TestPredicates(t *testing.T) {
	for s, want := range map[string]bool{
		"127.0.0.1:1": true, "0.0.0.0:0": true, "[::ffff:1.2.3.4]:1": true,
		"[::1]:1": false, "[::1.2.3.4]:1": false, "[1::ffff:1.2.3.4]:1": false, "[::fffe:1.2.3.4]:1": false,
	} {
		if got := from(s).Is4(); got != want {
			t.Errorf("Is4(%s) = %v", s, got)
		}
	}
	if (AddrPort{}).IsValid() || From(netip.AddrPort{}).IsValid() {
		t.Error("no address is valid")
	}
	if !from("127.0.0.1:0").IsValid() {
		t.Error("127.0.0.1:0 is not valid")
	}
}

// Tables mask the low bits. Neighbours in address or port, which a cluster's
// callers are, must fall like strangers: with as many addresses as slots a
// share of 1/e = 37 % of the slots stays empty, and none is crowded.
func TestHashSpreads(t *testing.T) {
	const n = 1 << 14
	families := map[string]func(int) AddrPort{
		"ports": func(i int) AddrPort {
			a := from("127.0.0.1:0")
			a.Port = uint16(i)
			return a
		},
		"IPv4 addresses": func(i int) AddrPort {
			return From(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 9000))
		},
		"IPv4 networks": func(i int) AddrPort {
			return From(netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(i >> 8), byte(i), 0, 1}), 9000))
		},
		"IPv6 hosts": func(i int) AddrPort {
			a := from("[2001:db8::1]:9000")
			binary.BigEndian.PutUint32(a.IP[12:], uint32(i))
			return a
		},
		"IPv6 networks": func(i int) AddrPort {
			a := from("[2001:db8::1]:9000")
			binary.BigEndian.PutUint32(a.IP[4:], uint32(i))
			return a
		},
		"zones": func(i int) AddrPort {
			a := from("[fe80::1]:9000")
			a.Zone = uint32(i)
			return a
		},
	}
	for name, family := range families {
		for _, seed := range []uint64{0, 1, 0xdeadbeefcafef00d} {
			for _, shift := range []int{0, 64 - 14} { // low and high bits
				t.Run(fmt.Sprintf("%s/%x/%d", name, seed, shift), func(t *testing.T) {
					slots := make([]int, n)
					fullest, empty := 0, 0
					for i := range n {
						s := &slots[family(i).Hash(seed)>>shift&(n-1)]
						*s++
						fullest = max(fullest, *s)
					}
					for _, s := range slots {
						if s == 0 {
							empty++
						}
					}
					if share := float64(empty) / n; share > 0.42 || fullest > 16 {
						t.Errorf("%.0f %% of the slots empty, %d in the fullest", share*100, fullest)
					}
				})
			}
		}
	}
}

// Strangers who do not know the seed do not know who collides.
func TestSeedChangesCollisions(t *testing.T) {
	a, b := from("10.0.0.1:1"), from("10.0.0.2:2")
	distances := map[uint64]bool{}
	for seed := range uint64(64) {
		distances[a.Hash(seed)^b.Hash(seed)] = true
	}
	if len(distances) < 64 {
		t.Errorf("%d distances under 64 seeds", len(distances))
	}
}

func TestNoAllocations(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:9000"), netip.MustParseAddrPort("[2001:db8::1]:9000")
	var sum uint64
	n := testing.AllocsPerRun(100, func() {
		for _, ap := range [...]netip.AddrPort{v4, v6} {
			a := From(ap)
			sum += a.Hash(sum)
			if a.Is4() && a.IsValid() && a.Netip() == ap {
				sum++
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The bug: for one interface ID the prefix did not matter, whatever the seed:
// a caller with a /48 could put all its addresses into one bucket.
func TestHashHasNoWeakInterfaceID(t *testing.T) {
	at := func(prefix byte) AddrPort {
		a := AddrPort{IP: IP{0x20, 0x01, 0x0d, 0xb8, 0, prefix}, Port: 1}
		binary.LittleEndian.PutUint64(a.IP[8:], 0x9E3779B97F4A7C15^0x8BB84B93962EACC9)
		return a
	}
	for _, seed := range []uint64{1, 0xDEADBEEF, 1 << 63} {
		if at(1).Hash(seed) == at(2).Hash(seed) {
			t.Errorf("seed %x: equal hashes of different prefixes", seed)
		}
	}
}

// A link-local address takes its interface along and gives it back; no other
// address is touched.
func TestScopedAddress(t *testing.T) {
	for s, scoped := range map[string]bool{
		"fe80::1": true, "fe80::dcad:beff:feef:1": true,
		"2001:db8::1": false, "::1": false, "192.0.2.1": false, "fe80:1::1": false,
	} {
		ip := FromIP(netip.MustParseAddr(s))
		in := ip.Scoped(0x01020304)
		if (in != ip) != scoped {
			t.Errorf("%s became %v", s, in)
		}
		out, zone := in.Unscoped()
		if out != ip || (zone == 0x01020304) != scoped {
			t.Errorf("%s came back as %v, zone %d", s, out, zone)
		}
		if in.Scoped(7) == in && scoped {
			t.Errorf("%s: two interfaces make one address", s)
		}
	}
}

func TestBinary(t *testing.T) {
	for _, c := range []struct {
		text string
		size int
	}{
		{"192.0.2.1:9", 6},
		{"[2001:db8::1]:65535", 18},
		{"[fe80::1%7]:1", 22},
		{"[::]:0", 18},
	} {
		want := From(netip.MustParseAddrPort(c.text))
		b := want.Append([]byte{1})[1:]
		if len(b) != c.size {
			t.Errorf("%s: %d bytes, want %d", c.text, len(b), c.size)
		}
		if got, ok := FromBinary(b); !ok || got != want {
			t.Errorf("%s: read back as %v, %v", c.text, got, ok)
		}
		if ip, ok := IPFromBinary(want.IP.Append(nil)); !ok || ip != want.IP {
			t.Errorf("%s: its IP address is read back as %v, %v", c.text, ip, ok)
		}
	}
	for n := range MaxBinary + 2 {
		_, ok := FromBinary(make([]byte, n))
		if want := n == 6 || n == 18 || n == 22; ok != want {
			t.Errorf("%d bytes: %v", n, ok)
		}
	}
}
