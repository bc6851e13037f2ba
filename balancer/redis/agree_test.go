package redis

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"srtrelay/backend"
)

// Two relays that draw at random and are asked for the same new streams at the
// same time answer the same backends.
func TestTwoRelaysAgree(t *testing.T) {
	t.Parallel()
	single := func(t *testing.T) (*server, Servers) {
		s := startRedis(t)
		return s, at(s.addr)
	}
	for name, c := range map[string]struct {
		streams int
		start   func(*testing.T) (*server, Servers)
	}{
		"single": {1000, single},
		"cluster": {200, func(t *testing.T) (*server, Servers) {
			s := startCluster(t)
			return s, Servers{Mode: "cluster", Addrs: []string{s.addr}}
		}},
		"sentinel": {200, func(t *testing.T) (*server, Servers) {
			s := startRedis(t)
			return s, Servers{Mode: "sentinel", Addrs: []string{startSentinel(t, s, "mymaster")}, Master: "mymaster"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, servers := c.start(t)
			a, b := openWith(t, 20, servers, random).ready(), openWith(t, 20, servers, random).ready()
			first := 0
			for range c.streams / atOnce {
				until(t, "streams to be compared in time", func() bool {
					first += atOnce
					return agree(t, s, a, b, first)
				})
			}
			for _, r := range []*relay{a, b} {
				if ok, _, detail := r.State(); !ok {
					t.Errorf("went on alone: %s", detail)
				}
			}
		})
	}
}

// atOnce is how many streams are compared at a time.
const atOnce = 20

// agree asks two relays for the same new streams at the same time, and fails the test unless
// both answer what Redis has. It is false if bindings may have expired meanwhile, as on a busy
// machine, which says nothing: without a session they live for firstTTL.
func agree(t *testing.T, s *server, a, b *relay, first int) (inTime bool) {
	t.Helper()
	began := time.Now()
	var ofA, ofB []backend.ID
	var both sync.WaitGroup
	both.Go(func() { ofA = a.crowd(first, atOnce) })
	both.Go(func() { ofB = b.crowd(first, atOnce) })
	both.Wait()
	inRedis, err := s.Pipelined(t.Context(), func(p goredis.Pipeliner) error {
		for i := range atOnce {
			p.Get(t.Context(), urlPrefix+key(first+i))
		}
		return nil
	})
	if time.Since(began) >= firstTTL {
		return false
	}
	must(t, err)
	for i, got := range inRedis {
		if ofA[i] != ofB[i] || ofA[i] == "" {
			t.Fatalf("%s is at %s and at %s", key(first+i), ofA[i], ofB[i])
		}
		if want := serverPrefix + staticPrefix + string(ofA[i]); got.(*goredis.StringCmd).Val() != want {
			t.Fatalf("Redis answers %v, want %q", got, want)
		}
	}
	return true
}

func TestGroupsAgree(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := openWith(t, 20, at(s.addr), random).ready(), openWith(t, 20, at(s.addr), random).ready()
	for g := range uint32(50) {
		began := time.Now()
		first := a.ask(backend.Query{Key: key(int(g)), Group: g + 1, Publish: true})
		mate := b.ask(backend.Query{Key: key(int(g) + 1000), Group: g + 1, Publish: true})
		player := b.stream(key(int(g)))
		if time.Since(began) >= firstTTL {
			continue // on a busy machine: the bindings may have expired meanwhile
		}
		if first.ID != mate.ID || first.ID != player.ID {
			t.Fatalf("group %d: %s, its mate %s, its player %s", g+1, first.ID, mate.ID, player.ID)
		}
	}
	// A group begins where the stream of its first member is.
	home := a.stream(key(2000))
	if got := b.ask(backend.Query{Key: key(2000), Group: 999, Publish: true}); got.ID != home.ID {
		t.Errorf("the stream is at %s, its new group at %s", home.ID, got.ID)
	}
	// And the stream of a member that is elsewhere is not moved.
	other := a.stream(key(2001))
	b.ask(backend.Query{Key: key(2001), Group: 999, Publish: true})
	if got := a.stream(key(2001)); got.ID != other.ID {
		t.Errorf("a member moved its stream from %s to %s", other.ID, got.ID)
	}
}

// A backend that one relay knows to be dead is replaced once, for both.
func TestDeadBackendIsReplaced(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := openWith(t, 5, at(s.addr), random).ready(), openWith(t, 5, at(s.addr), random).ready()
	for i := range 100 {
		dead := a.stream(key(i))
		a.Release(dead.Lease)
		a.reg.MarkDown(dead.ID)
		b.reg.MarkDown(dead.ID)
		var ofA, ofB backend.Target
		var both sync.WaitGroup
		both.Go(func() { ofA = a.stream(key(i)) })
		both.Go(func() { ofB = b.stream(key(i)) })
		both.Wait()
		if ofA.ID != ofB.ID || ofA.ID == dead.ID {
			t.Fatalf("%s was at %s, is at %s and %s", key(i), dead.ID, ofA.ID, ofB.ID)
		}
		a.reg.MarkAlive(dead.ID, 0, time.Now())
		b.reg.MarkAlive(dead.ID, 0, time.Now())
		if got := b.stream(key(i)); got.ID != ofA.ID {
			t.Fatalf("%s went back to %s", key(i), got.ID)
		}
	}
}

func TestTriedBackendIsReplaced(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := openWith(t, 3, at(s.addr)).ready(), openWith(t, 3, at(s.addr)).ready()
	silent := a.stream("k")
	a.Release(silent.Lease)
	next := a.ask(backend.Query{Key: "k", Publish: true, Tried: [2]backend.ID{silent.ID}})
	if got := b.stream("k"); next.ID == silent.ID || got.ID != next.ID {
		t.Errorf("silent %s, next %s, for the other relay %s", silent.ID, next.ID, got.ID)
	}
	// If another caller has a session there, only this caller goes elsewhere.
	a.Report(backend.Outcome{Lease: next.Lease, Fate: backend.FateBegan})
	lone := a.ask(backend.Query{Key: "k", Tried: [2]backend.ID{next.ID}})
	if got := s.Get(t.Context(), "srs-proxy-url:k").Val(); lone.ID == next.ID || got != serverKey(staticPrefix+next.ID) {
		t.Errorf("stream at %s, its caller at %s, in Redis %s", next.ID, lone.ID, got)
	}
}

// The bug: a member whose backend answered late was sent to another one, which opened a group
// of its own for it.
func TestMemberGoesNowhereWithoutItsGroup(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a := openWith(t, 3, at(s.addr)).ready()
	first := a.ask(backend.Query{Key: "k", Group: 7, Publish: true})
	a.Report(backend.Outcome{Lease: first.Lease, Fate: backend.FateBegan})
	for _, stream := range []string{"k", "other"} {
		q := backend.Query{Key: stream, Group: 7, Publish: true, Tried: [2]backend.ID{first.ID}}
		if got, err := a.Pick(t.Context(), q); !errors.Is(err, backend.ErrNone) {
			t.Errorf("the group is at %s, its member of %s is sent to %q, %v", first.ID, stream, got.ID, err)
		}
	}
	if got := a.ask(backend.Query{Key: "other", Group: 7, Publish: true}); got.ID != first.ID {
		t.Errorf("the group is at %s, its next member is sent to %s", first.ID, got.ID)
	}
}

// Players of a stream that nobody publishes are refused, at the cost of one
// round trip a second for all of them.
func TestPlayersDoNotCreate(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := openWith(t, 3, at(s.addr), playersFollow).ready(), openWith(t, 3, at(s.addr), playersFollow).ready()
	a.unhurried()
	b.unhurried()
	play := func(r *relay) error {
		_, err := r.Pick(context.Background(), backend.Query{Key: "k"})
		return err
	}
	before := calls(t, s, "getrange", "calls")
	for range 1000 {
		if err := play(b); !errors.Is(err, backend.ErrNoStream) {
			t.Fatalf("a player of nothing: %v", err)
		}
	}
	// Two relays also read the servers' array each second.
	if n := calls(t, s, "getrange", "calls") - before; n > 200 {
		t.Errorf("%d reads for 1,000 players of nothing", n)
	}
	pub := a.stream("k")
	until(t, "the player to be let in", func() bool { return play(b) == nil })
	if got := b.ask(backend.Query{Key: "k"}); got.ID != pub.ID {
		t.Errorf("publisher at %s, player at %s", pub.ID, got.ID)
	}
}
