package shard

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"srtrelay/addr"
	"srtrelay/udp"
	"srtrelay/wire"
)

func addrFrom(ip netip.Addr, port uint16) addr.AddrPort {
	return addr.From(netip.AddrPortFrom(ip, port))
}

func fromConn(c *net.UDPConn) addr.AddrPort { return addr.From(addrOf(c)) }

// A forwarded datagram and a turn of the loop allocate nothing, with the
// offloads and without.
func TestForwardingDoesNotAllocate(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"offloads":          func(c *Config) { c.Sockets = udp.Options{GRO: true, GSO: true} },
		"plain":             func(c *Config) { c.Sockets = udp.Options{} },
		"without telemetry": func(c *Config) { c.Telemetry = false },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, change)
			upstream := r.establish(r.caller, callerID, callerISN, backendID)
			up, seq := media(backendID, 0, 3<<30|1), uint32(callerISN)
			down := ackOf(wire.TypeACK, callerID, 1, callerISN, 50_000, 1000, 8000, 190, 2000, 250_000)
			foreign := packet(0xDEAD, 1332)
			in := make([]byte, 2048)
			for range 2 * 16 {
				must(t, r.caller, foreign)
			}
			r.settle()
			r.resize() // a batch that grows allocates
			before := r.count(CountForwardedToBackend) + r.count(CountForwardedToCaller)
			allocations := testing.AllocsPerRun(200, func() {
				for range 8 {
					binary.BigEndian.PutUint32(up, seq)
					seq++
					must(t, r.caller, up)
					must(t, r.caller, foreign)
				}
				for range 4 {
					binary.BigEndian.PutUint32(down[4:], seq)
					mustTo(t, r.backend, down, upstream)
				}
				r.turn()
				for range 8 {
					if _, _, err := r.backend.ReadFromUDPAddrPort(in); err != nil {
						t.Fatal(err)
					}
				}
				for range 4 {
					if _, _, err := r.caller.ReadFromUDPAddrPort(in); err != nil {
						t.Fatal(err)
					}
				}
			})
			if allocations != 0 {
				t.Errorf("%v allocations per turn", allocations)
			}
			if n := r.count(CountForwardedToBackend) + r.count(CountForwardedToCaller) - before; n != 201*12 {
				t.Errorf("forwarded %d datagrams, want %d", n, 201*12)
			}
		})
	}
}

func must(t testing.TB, c *net.UDPConn, b []byte) {
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func mustTo(t testing.TB, c *net.UDPConn, b []byte, to netip.AddrPort) {
	if _, err := c.WriteToUDPAddrPort(b, to); err != nil {
		t.Fatal(err)
	}
}

func TestIdleTurnDoesNotAllocate(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	if n := testing.AllocsPerRun(100, func() { r.turn() }); n != 0 {
		t.Errorf("%v allocations per turn", n)
	}
}

// A flood of strange and stale handshakes costs no memory either.
func TestStatelessAnswersDoNotAllocate(t *testing.T) {
	r := newRig(t)
	strange := conclusion(callerID, callerISN, 0xBAD, 1)
	in := make([]byte, 2048)
	if n := testing.AllocsPerRun(100, func() {
		must(t, r.caller, strange)
		must(t, r.caller, strange[:20])
		r.turn()
	}); n != 0 {
		t.Errorf("%v allocations per turn", n)
	}
	if r.count(CountReinductions) != 1 || r.count(DropCookie) < 100 {
		t.Errorf("counters %v, want one re-induction and the rest dropped", r.nonzero())
	}
	if n, _, err := r.caller.ReadFromUDPAddrPort(in); err != nil || n != 64 {
		t.Errorf("%d bytes, %v; want a 64-byte INDUCTION", n, err)
	}
}
