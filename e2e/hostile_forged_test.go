//go:build linux

package e2e

import (
	"net/netip"
	"testing"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// Hostile datagrams that bear the addresses of the true peers. What bears a
// session's true address and true socket ID as well is the session's, for all
// that a relay can know: that is sent to other sessions than the flows, which
// lose nothing.
func TestForgedSources(t *testing.T) {
	t.Parallel()
	raw := openRaw(t)
	g := startSiege(t, binary, 3, 1472)
	prey := make([]victim, 4)
	for i := range prey {
		s := mustDial(t, g.addr, srttest.CallerOptions{StreamID: "live/prey"})
		prey[i].s = s
		prey[i].conn, _ = connectionOf(t, s, g.backend)
	}
	f := g.forge
	g.attack(50_000, func() int {
		if f.IntN(4) == 0 {
			p := prey[f.IntN(len(prey))]
			from, to, b := p.forged(f, g.backend.Addr(), g.addr)
			raw.send(from, to, b)
			return 1
		}
		from, to, b := g.forged(f.victim())
		raw.send(from, to, b)
		return 1
	})
	g.finish("short not_handshake malformed rendezvous cookie foreign_caller foreign_backend duplicate")
}

// forged makes a datagram that bears the address of a flow's peer, but is not
// the flow's.
func (g *siege) forged(v victim) (from, to netip.AddrPort, b []byte) {
	f, caller, backend := g.forge, v.s.Port().Addr(), g.backend.Addr()
	switch f.IntN(8) {
	case 0: // from the caller, for no session
		return caller, g.addr, f.addressed(f.Uint32())
	case 1: // from the backend, for no session
		return backend, v.conn.Source, f.addressed(f.Uint32() | 1<<31)
	case 2: // from the caller, its own handshake again with a guessed cookie
		h := v.s.Conclusion(f.Uint32())
		if f.IntN(2) == 0 {
			h.SetISN(f.Uint32() >> 2)
		}
		return caller, g.addr, h
	case 3: // from the caller, its own handshake from the start
		return caller, g.addr, v.s.Induction()
	case 4: // from the backend, a reply of the backend leg that comes again
		h := v.s.Induction()
		h.Packet().SetDestID(v.s.ID())
		return backend, v.conn.Source, h
	case 5: // from the backend to the listener
		return backend, g.addr, f.addressed(v.conn.ID)
	case 6: // from the caller to the upstream port
		return caller, v.conn.Source, f.addressed(v.s.ID())
	}
	// From an address where nobody is, to the listener.
	nobody := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 9, byte(f.Uint32()), byte(f.Uint32())}), uint16(f.Uint32()|1))
	return nobody, g.addr, f.toNobody(v)
}

// addressed is a data or control packet, or noise, with this destination ID.
func (f *forge) addressed(id uint32) []byte {
	b := f.Data()
	if f.IntN(2) == 0 {
		b = f.Control()
	}
	wire.Packet(b).SetDestID(id)
	return b
}

// toNobody is noise or a request from a caller that does not exist.
func (f *forge) toNobody(v victim) []byte {
	switch f.IntN(4) {
	case 0:
		return f.Noise()
	case 1:
		return f.Handshake(0)
	case 2:
		return f.Mutate(v.s.Induction())
	}
	return f.Mutate(v.s.Conclusion(f.Uint32()))
}

// forged returns a datagram that is indistinguishable from the session's own but makes no
// sense.
func (v victim) forged(f *forge, backend, relay netip.AddrPort) (from, to netip.AddrPort, b []byte) {
	if f.IntN(2) == 0 {
		if b = f.addressed(v.conn.ID); f.IntN(4) == 0 {
			b = f.Handshake(v.conn.ID)
		}
		return v.s.Port().Addr(), relay, b
	}
	if b = f.addressed(v.s.ID()); f.IntN(4) == 0 {
		b = f.Handshake(v.s.ID())
	}
	return backend, v.conn.Source, b
}
