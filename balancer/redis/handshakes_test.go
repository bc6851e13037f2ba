package redis

import (
	"net/netip"
	"testing"
	"time"
)

// A handshake is found by its caller as soon as its relay has taken it, and is forgotten some time
// later.
func TestHandshakesArePublished(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	a, b := open(t, at(server.addr)).ready(), open(t, at(server.addr)).ready()
	here, there := a.publisher(address1), b.publisher(address2)
	here.Begun(sessionKey(1), callerAt(1))
	here.HandshakeBegun(20080, callerAt(2))
	found := func(port uint16, caller int) bool {
		all, err := there.Find(t.Context(), []SessionKey{HandshakeKey(port, callerAt(caller))}, []netip.AddrPort{callerAt(caller)})
		return err == nil && all[0].At.String() == address1 && all[0].Has(callerAt(caller))
	}
	until(t, "it is found", func() bool { return found(20080, 2) })
	if found(20081, 2) || found(20080, 1) {
		t.Error("found at another port, or that of a session")
	}
	count := here.Count()
	count.Add(sessionKey(1), callerAt(1))
	count.Done()
	here.expireHandshakes(time.Now())
	if _, has := here.own[HandshakeKey(20080, callerAt(2))]; !has {
		t.Error("a count of the sessions has forgotten it")
	}
	here.expireHandshakes(time.Now().Add(2 * handshakeTTL))
	until(t, "it is gone", func() bool {
		return !found(20080, 2) && b.client.HLen(t.Context(), sessionsPrefix+address1).Val() == 1
	})
}

func TestHandshakesAreBounded(t *testing.T) {
	s := &Sessions{
		own: make(map[SessionKey][]netip.AddrPort), dirty: make(map[SessionKey]struct{}),
		handshakes: make(map[SessionKey]time.Time),
	}
	for n := range 2 * maxHandshakes {
		s.HandshakeBegun(20080, callerAt(n))
	}
	if len(s.own) != maxHandshakes || len(s.handshakes) != maxHandshakes {
		t.Errorf("%d handshakes, %d of them with a time", len(s.own), len(s.handshakes))
	}
	s.expireHandshakes(time.Now().Add(2 * handshakeTTL))
	if len(s.own) != 0 || len(s.handshakes) != 0 || len(s.dirty) != maxHandshakes {
		t.Errorf("left: %d, %d; %d to be removed from Redis", len(s.own), len(s.handshakes), len(s.dirty))
	}
}
