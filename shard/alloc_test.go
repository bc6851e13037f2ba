package shard

import (
	"net"
	"net/netip"
	"testing"

	"srtrelay/addr"
	"srtrelay/udp"
)

func fromConn(c *net.UDPConn) addr.AddrPort { return addr.From(addrOf(c)) }

// A forwarded datagram and a turn of the loop allocate nothing, with the
// offloads and without.
func TestForwardingDoesNotAllocate(t *testing.T) {
	for name, options := range map[string]udp.Options{
		"offloads": {GRO: true, GSO: true},
		"plain":    {},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.Sockets = options })
			upstream := r.establish(r.caller, callerID, callerISN, backendID)
			up, down := packet(backendID, 1332), packet(callerID, 44)
			foreign := packet(0xDEAD, 1332)
			in := make([]byte, 2048)
			before := r.count(ForwardedToBackend) + r.count(ForwardedToCaller)
			allocations := testing.AllocsPerRun(200, func() {
				for range 8 {
					must(t, r.caller, up)
					must(t, r.caller, foreign)
				}
				for range 4 {
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
			if n := r.count(ForwardedToBackend) + r.count(ForwardedToCaller) - before; n != 201*12 {
				t.Errorf("forwarded %d datagrams, want %d", n, 201*12)
			}
		})
	}
}

func must(t *testing.T, c *net.UDPConn, b []byte) {
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func mustTo(t *testing.T, c *net.UDPConn, b []byte, to netip.AddrPort) {
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
	if r.count(Reinductions) != 1 || r.count(DropCookie) < 100 {
		t.Errorf("counters %v, want one re-induction and the rest dropped", r.nonzero())
	}
	if n, _, err := r.caller.ReadFromUDPAddrPort(in); err != nil || n != 64 {
		t.Errorf("%d bytes, %v; want a 64-byte INDUCTION", n, err)
	}
}
