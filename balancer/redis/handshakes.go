package redis

import (
	"net/netip"
	"time"
)

// Handshakes that this relay has taken a CONCLUSION of are published beside its sessions: a
// repeated one that reaches another relay must not open a second session there. They are removed
// some time later, whatever has become of them.
const (
	// handshakeTTL is how long a handshake is published: as long as a shard keeps its answer.
	handshakeTTL = 10 * time.Second
	// maxHandshakes is how many there are. More are not published.
	maxHandshakes = 8192
)

// HandshakeKey names what a caller began at a port a moment ago.
func HandshakeKey(port uint16, caller netip.AddrPort) SessionKey {
	return SessionKey{Port: port, caller: caller}
}

func (k SessionKey) isHandshake() bool { return k.caller.IsValid() }

// HandshakeBegun notes that this relay has taken a CONCLUSION. What becomes of it makes no
// difference: for a while no other relay is to take a repetition.
func (s *Sessions) HandshakeBegun(port uint16, caller netip.AddrPort) {
	k := HandshakeKey(port, caller)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.handshakes[k]; again || len(s.handshakes) < maxHandshakes {
		s.handshakes[k] = time.Now().Add(handshakeTTL)
		s.begun(k, caller)
	}
}

// expireHandshakes removes handshakes of some time ago.
func (s *Sessions) expireHandshakes(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, until := range s.handshakes {
		if now.After(until) {
			delete(s.handshakes, k)
			delete(s.own, k)
			s.touch(k)
		}
	}
}
