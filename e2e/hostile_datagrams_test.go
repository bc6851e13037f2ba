//go:build linux

package e2e

import (
	"net"

	"srtrelay/internal/srttest"
)

// victim is a running session as an attacker may know it.
type victim struct {
	s    *srttest.Session
	conn *srttest.Connection
	// What there was before the attack.
	seen     srttest.Seen
	arrivals int
}

// forge makes hostile datagrams for these victims.
type forge struct {
	*srttest.Fuzzer
	victims []victim
}

func newForge(seed uint64, longest int) *forge {
	f := &forge{Fuzzer: srttest.NewFuzzer(seed, longest)}
	f.ID = f.id
	return f
}

func (f *forge) victim() victim { return f.victims[f.IntN(len(f.victims))] }

// id is a socket ID that is nobody's, a victim's in either direction, or 0.
func (f *forge) id() uint32 {
	switch f.IntN(5) {
	case 0:
		return 0
	case 1:
		return f.victim().conn.ID
	case 2:
		return f.victim().s.ID()
	}
	return f.Uint32() | 1
}

// attacker is a host with an address of its own, to which the relay's answers
// return: it has a good cookie.
type attacker struct {
	conn   *net.UDPConn
	cookie uint32
	own    *srttest.Session   // makes its requests
	stolen []*srttest.Session // the same with the socket IDs of victims
}

// request is a mutated INDUCTION or CONCLUSION of the attacker's.
func (f *forge) request(a attacker) []byte {
	s := a.own
	if f.IntN(4) == 0 {
		s = a.stolen[f.IntN(len(a.stolen))]
	}
	if f.IntN(2) == 0 {
		return f.Mutate(s.Induction())
	}
	cookie := a.cookie
	if f.IntN(3) == 0 {
		cookie = f.Uint32()
	}
	h := s.Conclusion(cookie)
	if f.IntN(2) == 0 {
		h.SetISN(f.Uint32() >> 2)
	}
	if f.IntN(4) == 0 {
		h.SetSocketID(f.Uint32())
	}
	return f.Mutate(h)
}
