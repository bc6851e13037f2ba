package redis

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func callerAt(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), 9000)
}

func sessionKey(n int) SessionKey { return SessionKey{Port: 20080, ID: uint32(0x1000 + n)} }

// publisher returns the sessions of a relay at an address.
func (r *relay) publisher(address string) *Sessions {
	return r.Sessions(func() netip.AddrPort { return netip.MustParseAddrPort(address) })
}

// finds reports whether a relay finds the first n sessions at an address.
func (s *Sessions) finds(t *testing.T, n int, address string) bool {
	t.Helper()
	var keys []SessionKey
	var callers []netip.AddrPort
	for i := range n {
		keys, callers = append(keys, sessionKey(i)), append(callers, callerAt(i))
	}
	found, err := s.Find(t.Context(), keys, callers)
	if err != nil {
		return false
	}
	for i, o := range found {
		if o.At.String() != address || !o.Has(callers[i]) {
			return false
		}
	}
	return true
}

const address1, address2, address3 = "10.0.0.1:20081", "10.0.0.2:20081", "10.0.0.3:20081"

// A storm of sessions is published without anybody waiting for it, and comes back when Redis
// has lost its data, or was away.
func TestSessionsArePublished(t *testing.T) {
	t.Parallel()
	const n = 10_000
	server := startRedis(t)
	link := newLink(t, server.addr)
	a, b := open(t, at(link.addr())).ready(), open(t, at(server.addr)).ready()
	here, there := a.publisher(address1), b.publisher(address2)
	began := time.Now()
	for i := range n {
		here.Begun(sessionKey(i), callerAt(i))
	}
	t.Logf("%d sessions noted in %v", n, time.Since(began))
	until(t, "another relay finds all", func() bool { return there.finds(t, n, address1) })
	t.Logf("found after %v", time.Since(began))
	if here.finds(t, 1, address1) {
		t.Error("a relay finds its own sessions at another")
	}

	must(t, b.client.FlushAll(t.Context()).Err())
	until(t, "they are published again", func() bool { return there.finds(t, n, address1) })

	link.set(true)
	a.away()
	for i := range n / 2 {
		here.Ended(sessionKey(i), callerAt(i))
	}
	if _, err := here.Find(t.Context(), []SessionKey{sessionKey(1)}, []netip.AddrPort{callerAt(1)}); err == nil {
		t.Error("found while Redis is away")
	}
	link.set(false)
	until(t, "what has ended meanwhile is gone", func() bool {
		left, err := b.client.HLen(t.Context(), sessionsPrefix+address1).Result()
		return err == nil && left == n/2
	})
	if ttl := b.client.PTTL(t.Context(), sessionsPrefix+address1).Val(); ttl <= 0 || ttl > sessionsTTL {
		t.Errorf("TTL %v", ttl)
	}
}

// A session that has moved is found by its new caller, and one of another caller with the
// same ID is told apart.
func TestSessionsMoveAndCollide(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	a, b, c := open(t, at(server.addr)).ready(), open(t, at(server.addr)).ready(), open(t, at(server.addr)).ready()
	first, second, asker := a.publisher(address1), b.publisher(address2), c.publisher(address3)
	k := sessionKey(1)
	first.Begun(k, callerAt(1))
	first.Begun(k, callerAt(2))
	second.Begun(k, callerAt(3))
	owner := func(caller int) (o SessionOwner) {
		found, err := asker.Find(t.Context(), []SessionKey{k}, []netip.AddrPort{callerAt(caller)})
		if err == nil {
			o = found[0]
		}
		return o
	}
	at := func(caller int, address string, exact bool) func() bool {
		return func() bool {
			o := owner(caller)
			return o.At.IsValid() && (address == "" || o.At.String() == address) && o.Has(callerAt(caller)) == exact
		}
	}
	until(t, "the first one", at(1, address1, true))
	until(t, "with the same key", at(2, address1, true))
	until(t, "at another relay", at(3, address2, true))
	until(t, "none, but the ID", at(4, "", false))
	second.Moved(k, callerAt(3), callerAt(4))
	until(t, "moved", at(4, address2, true))
	first.Ended(k, callerAt(1))
	first.Ended(k, callerAt(2))
	second.Ended(k, callerAt(4))
	until(t, "all have ended", func() bool { return len(owner(4).Callers) == 0 })
}

// A count corrects what events that were lost have left wrong, and does not undo those that
// come while it lasts.
func TestCount(t *testing.T) {
	s := &Sessions{own: make(map[SessionKey][]netip.AddrPort), dirty: make(map[SessionKey]struct{})}
	for i := range 3 {
		s.Begun(sessionKey(i), callerAt(i))
	}
	clear(s.dirty)
	count := s.Count()
	for _, i := range []int{0, 2, 3} { // the end of 1 and the begin of 3 were lost
		count.Add(sessionKey(i), callerAt(i))
	}
	s.Ended(sessionKey(2), callerAt(2)) // after it was counted
	s.Begun(sessionKey(4), callerAt(4)) // where the count had been
	count.Done()
	for i, want := range []bool{true, false, false, true, true} {
		_, has := s.own[sessionKey(i)]
		_, dirty := s.dirty[sessionKey(i)]
		if has != want || dirty != (i > 0) {
			t.Errorf("session %d: known %v, to be written %v", i, has, dirty)
		}
	}
}

// While Redis is away sessions that come and go leave nothing.
func TestSessionsOfAnOutageAreNotNoted(t *testing.T) {
	s := &Sessions{own: make(map[SessionKey][]netip.AddrPort), dirty: make(map[SessionKey]struct{})}
	s.Begun(sessionKey(0), callerAt(0))
	s.rewrite() // as run does, again and again
	for i := 1; i < 10_000; i++ {
		s.Begun(sessionKey(i), callerAt(i))
		s.Ended(sessionKey(i), callerAt(i))
	}
	count := s.Count()
	count.Add(sessionKey(0), callerAt(0))
	count.Done()
	if len(s.dirty) > 0 {
		t.Errorf("%d sessions are noted", len(s.dirty))
	}
	if entries, fresh := s.take(); !fresh || len(entries) != 1 {
		t.Errorf("to be written: %d, fresh %v", len(entries), fresh)
	}
}

// Values of any length cost a relay that asks for sessions nothing.
func TestHugeSessionsAreNotRead(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	link := newLink(t, server.addr)
	a, b := open(t, at(server.addr)).ready(), open(t, at(link.addr())).ready()
	here, there := a.publisher(address1), b.publisher(address2)
	const n = 20
	for i := range n {
		here.Begun(sessionKey(i), callerAt(i))
	}
	until(t, "found", func() bool { return there.finds(t, n, address1) })
	var keys []SessionKey
	for i := range n {
		keys = append(keys, sessionKey(i))
		must(t, a.client.HSet(t.Context(), sessionsPrefix+address1, keys[i].field(), strings.Repeat("x", 256<<10)).Err())
	}
	before := link.read.Load()
	if _, err := there.Find(t.Context(), keys, make([]netip.AddrPort, n)); err != nil {
		t.Error(err)
	}
	if got := link.read.Load() - before; got > 1<<20 {
		t.Errorf("%d bytes were read", got)
	}
}

// Others may write anything.
func TestStrangeSessions(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	a, b := open(t, at(server.addr)).ready(), open(t, at(server.addr)).ready()
	here, there := a.publisher(address1), b.publisher(address2)
	here.Begun(sessionKey(0), callerAt(0))
	until(t, "found", func() bool { return there.finds(t, 1, address1) })
	ctx := t.Context()
	must(t, a.client.HSet(ctx, forwardKey, "nonsense", "9e99", "10.9.9.9:1", time.Now().UnixMilli(), "10.9.9.8:1", "x").Err())
	must(t, a.client.Set(ctx, sessionsPrefix+"10.9.9.9:1", "no hash", 0).Err())
	must(t, a.client.HSet(ctx, sessionsPrefix+address1, sessionKey(1).field(), "x y z", sessionKey(2).field(), string(make([]byte, 1<<20))).Err())
	until(t, "the strange relay is read", func() bool {
		there.mu.Lock()
		defer there.mu.Unlock()
		return slices.Contains(there.others, "10.9.9.9:1")
	})
	if !there.finds(t, 1, address1) {
		t.Error("not found any more")
	}
	must(t, a.client.Set(ctx, forwardKey, "no hash", 0).Err())
	until(t, "the relay goes on", func() bool { ok, _, _ := b.State(); return ok })
	var beats []any
	for i := range 4 * 4 * maxForward {
		beats = append(beats, fmt.Sprintf("10.8.0.%d:%d", i%250, i), time.Now().UnixMilli())
	}
	must(t, a.client.Del(ctx, forwardKey).Err())
	must(t, a.client.HSet(ctx, forwardKey, beats...).Err())
	until(t, "the hash to be begun anew", func() bool { return a.client.HLen(ctx, forwardKey).Val() <= 4*maxForward })
}

// A Redis whose ACL forbids the list of sessions is in use all the same, and the log says so
// once.
func TestSessionsThatRedisRefuses(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	must(t, server.Do(t.Context(), "ACL", "SETUSER", "narrow", "on", ">p", "+@all", "%RW~srs-*", "%RW~srtrelay-[^s]*", "%RW~srtrelay-servers").Err())
	servers := at(server.addr)
	servers.Username, servers.Password = "narrow", "p"
	a := open(t, servers).ready()
	a.publisher(address1).Begun(sessionKey(0), callerAt(0))
	refused := func() int { return a.log.count("refuses the list of sessions") }
	until(t, "the refusal to be told", func() bool { return refused() > 0 })
	rounds := server.rounds(t)
	until(t, "three rounds", func() bool { return server.rounds(t) >= rounds+3 })
	if ok, _, detail := a.State(); !ok || refused() != 1 {
		t.Errorf("in use: %v (%s), told %d times", ok, detail, refused())
	}
}

func TestNothingIsPublishedWithoutAnAddress(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	a := open(t, at(server.addr)).ready()
	s := a.Sessions(func() netip.AddrPort { return netip.AddrPort{} })
	s.Begun(sessionKey(0), callerAt(0))
	time.Sleep(3 * sessionsEvery) // there is no event for nothing
	if n := a.client.Exists(t.Context(), forwardKey).Val(); n != 0 {
		t.Error("published")
	}
}
