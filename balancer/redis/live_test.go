package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// publishers begins the sessions of n publishers and returns their backends.
func (r *relay) publishers(n int) (at []backend.ID) {
	r.Helper()
	for i := range n {
		t := r.stream(key(i))
		r.Report(backend.Outcome{Lease: t.Lease, Fate: backend.FateBegan})
		at = append(at, t.ID)
	}
	return at
}

// awaitLive waits until a relay knows n live bindings.
func (r *relay) awaitLive(n int) {
	r.Helper()
	until(r.T, fmt.Sprintf("%d live bindings to be known", n), func() bool { return r.announcer.live.len() == n })
}

// met counts the players that are sent where their publisher is.
func (r *relay) met(publishers []backend.ID) (n int) {
	r.Helper()
	for i, id := range publishers {
		if r.ask(backend.Query{Key: key(i)}).ID == id {
			n++
		}
	}
	return n
}

// With least-sessions a second relay sent 9 of 20 players elsewhere than their
// publisher while Redis was away.
func TestPlayersMeetTheirPublisherWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) (*server, Servers){
		"single": func(t *testing.T) (*server, Servers) {
			s := startRedis(t)
			return s, at(s.addr)
		},
		"cluster": func(t *testing.T) (*server, Servers) {
			s := startCluster(t)
			return s, Servers{Mode: "cluster", Addrs: []string{s.addr}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, servers := start(t)
			a, b := openWith(t, 2, servers).ready(), openWith(t, 2, servers).ready()
			published := a.publishers(40)
			b.awaitLive(40)
			a.awaitLive(40)
			s.kill()
			a.away()
			b.away()
			if n := b.met(published); n != 40 {
				t.Errorf("%d of 40 players met their publisher", n)
			}
			if _, why, _ := b.Explain(backend.Query{Key: key(99)}); !strings.Contains(why, "hash") {
				t.Errorf("a new stream: %s", why)
			}
		})
	}
}

// A relay that starts while others run, or that lost Redis alone, knows what
// was announced before.
func TestLateRelayKnowsLiveBindings(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a := openWith(t, 3, at(s.addr)).ready()
	published := a.publishers(30)
	a.awaitLive(30)
	wire := newLink(t, s.addr)
	b := openWith(t, 3, at(wire.addr())).ready()
	b.awaitLive(30)
	wire.set(true)
	b.away()
	if n := b.met(published); n != 30 {
		t.Errorf("%d of 30 players met their publisher", n)
	}
}

// A Redis that comes back empty, or an entry with the highest ID there is, does
// not end the exchange.
func TestExchangeBeginsAnew(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := openWith(t, 3, at(s.addr)).ready(), openWith(t, 3, at(s.addr)).ready()
	a.publishers(3)
	b.awaitLive(3)
	s.kill()
	a.away()
	b.away()
	s.start()
	a.ready()
	b.ready()
	a.publishers(5)
	b.awaitLive(5)
	last := "18446744073709551615-18446744073709551615"
	must(t, s.XAdd(t.Context(), &goredis.XAddArgs{Stream: liveKey, ID: last, Values: []any{"x", "y"}}).Err())
	a.publishers(6)
	b.awaitLive(6)
	if ok, _, detail := a.State(); !ok {
		t.Errorf("counts as an outage: %s", detail)
	}
}

// The sessions of this relay decide before what others have announced.
func TestOwnSessionsBeforeAnnounced(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := openWith(t, 2, at(s.addr)).ready()
	own := r.publishers(1)[0]
	r.awaitLive(1)
	other := static(0).ID
	if own == other {
		other = static(1).ID
	}
	s.kill()
	r.away()
	r.announcer.live.note(balancer.AffinityKey{Stream: key(0)}, other, true, 0)
	r.announcer.live.note(balancer.AffinityKey{Stream: key(1)}, other, true, 0)
	r.announcer.live.note(balancer.AffinityKey{Group: 7}, other, true, 0)
	for want, q := range map[backend.ID]backend.Query{own: {Key: key(0)}, other: {Key: key(1)}} {
		if got := r.ask(q); got.ID != want {
			t.Errorf("%s is at %s, want %s", q.Key, got.ID, want)
		}
	}
	if got := r.ask(backend.Query{Key: "k", Group: 7}); got.ID != other {
		t.Errorf("a bonding group is at %s", got.ID)
	}
	if got := r.ask(backend.Query{Key: key(1), Tried: [2]backend.ID{other}}); got.ID != own {
		t.Errorf("a caller is sent again where it has failed: %s", got.ID)
	}
	r.reg.MarkDown(other)
	until(t, "what was at a backend that is gone to be forgotten", func() bool { return r.announcer.live.len() == 0 })
}

// The bug: without Redis a member of a bonding group went where its stream was, or had been
// announced, though its group was elsewhere. That opened a group of its own, which libsrt refuses.
func TestAloneMembersGoWhereTheirGroupIs(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := openWith(t, 2, at(s.addr)).ready()
	streams := r.publishers(1)[0]
	groups := static(0).ID
	if groups == streams {
		groups = static(1).ID
	}
	s.kill()
	r.away()
	r.announcer.live.note(balancer.AffinityKey{Group: 7}, groups, true, 0)
	r.announcer.live.note(balancer.AffinityKey{Stream: key(1)}, streams, true, 0)
	member := func(stream string, group uint32) backend.Query {
		return backend.Query{Key: stream, Group: group, Publish: true}
	}
	if got := r.ask(member(key(0), 7)); got.ID != groups {
		t.Errorf("the group was announced at %s, its member goes to %s, where its stream is", groups, got.ID)
	}
	first := r.ask(backend.Query{Key: "k", Group: 8, Publish: true, Tried: [2]backend.ID{streams}})
	if got := r.ask(member(key(1), 8)); got.ID != first.ID {
		t.Errorf("the group begins at %s, its next member goes to %s, where its stream was announced", first.ID, got.ID)
	}
	r.Report(backend.Outcome{Lease: first.Lease, Fate: backend.FateBegan})
	for _, group := range []uint32{7, 8} {
		q := member(key(1), group)
		q.Tried[0] = groups
		if got, err := r.Pick(t.Context(), q); !errors.Is(err, backend.ErrNone) {
			t.Errorf("group %d is at %s, its member is sent to %q, %v", group, groups, got.ID, err)
		}
	}
	r.reg.MarkDown(groups)
	if got := r.ask(member(key(1), 7)); got.ID != streams {
		t.Errorf("a group whose backend is gone goes to %s", got.ID)
	}
}

func TestLiveBindings(t *testing.T) {
	l := newLiveBindings()
	h := balancer.AffinityKey{Stream: "k"}
	find := func(want backend.ID) {
		t.Helper()
		if at, _ := l.find(h); at != want {
			t.Errorf("at %q, want %q", at, want)
		}
	}
	due := func(at backend.ID, published, want bool) {
		t.Helper()
		if got := l.due(h, at, published); got != want {
			t.Errorf("due %v, want %v", got, want)
		}
	}
	advance := func(n int) {
		for range n {
			l.advance()
		}
	}
	due("a", false, true)
	l.note(h, "a", true, liveRounds+1)
	find("") // it was over when it was read
	l.note(h, "a", true, 2)
	find("a")
	l.note(h, "b", false, 0)
	find("a") // players do not move it from its publisher
	due("a", false, false)
	due("a", true, false)
	due("b", false, false)
	due("b", true, true)
	advance(announceRounds - 2)
	due("a", true, true)
	l.note(h, "a", false, 0) // a relay that has players
	due("a", false, false)
	due("a", true, true)
	advance(sweepRounds + 3)
	due("b", false, true)
	l.note(h, "b", false, 0) // the publisher was not announced again
	find("b")
	advance(liveRounds)
	find("b")
	advance(sweepRounds)
	find("")
	if l.len() != 0 || l.bytes != 0 {
		t.Errorf("%d bindings with %d bytes are left", l.len(), l.bytes)
	}
}

// A binding that ended is forgotten, by who had it too.
func TestEndedBindingIsForgotten(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := openWith(t, 2, at(s.addr)).ready(), openWith(t, 2, at(s.addr)).ready()
	lease := a.stream("k").Lease
	a.Report(backend.Outcome{Lease: lease, Fate: backend.FateBegan})
	a.awaitLive(1)
	b.awaitLive(1)
	a.Release(lease)
	for _, r := range []*relay{a, b} {
		for range liveRounds + sweepRounds { // rounds that nobody announces it in
			r.announcer.live.advance()
		}
		r.awaitLive(0)
	}
}

// A binding under which no session was ever established is not announced.
func TestUnprovenBindingIsNotAnnounced(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := openWith(t, 2, at(s.addr)).ready()
	r.stream("never")
	r.publishers(1)
	r.awaitLive(1)
	if _, ok := r.announcer.live.find(balancer.AffinityKey{Stream: "never"}); ok {
		t.Error("it was announced")
	}
}

// Redis older than 5.0, or with an ACL that forbids it: one line, and all else
// goes on.
func TestRedisThatRefusesTheExchange(t *testing.T) {
	t.Parallel()
	for name, commands := range map[string][]string{
		"writing": {"XADD"}, "all": {"XADD", "XREAD", "XREVRANGE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var args []string
			for _, c := range commands {
				args = append(args, "--rename-command", c, "")
			}
			s := startRedis(t, args...)
			a, b := openWith(t, 9, at(s.addr), random).ready(), openWith(t, 9, at(s.addr), random).ready()
			if n := b.met(a.publishers(20)); n != 20 {
				t.Errorf("%d of 20 players met their publisher with Redis in use", n)
			}
			until(t, "the refusal to be told", func() bool { return a.log.count("refuses the exchange") == 1 })
			rounds := s.rounds(t)
			until(t, "three rounds of both", func() bool { return s.rounds(t) >= rounds+6 })
			if ok, _, detail := a.State(); !ok || a.log.count("refuses the exchange") != 1 {
				t.Errorf("in use: %v (%s), told %d times", ok, detail, a.log.count("refuses the exchange"))
			}
		})
	}
}

// 300,000 false bindings, values of 10 MB, keys that are not UTF-8, unknown servers and
// garbage: what is kept is bounded, what was known stays, a round reads its share, and one
// line is logged.
func TestFloodOfBindingsIsBounded(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	server := serverKey(staticPrefix + static(0).ID)
	a, b := openWith(t, 2, at(s.addr)).ready(), openWith(t, 2, at(s.addr)).ready()
	published := a.publishers(20)
	b.awaitLive(20)
	a.unhurried() // what is announced once is forgotten after some rounds
	b.unhurried()
	add := func(p goredis.Pipeliner, text any) {
		p.XAdd(context.Background(), &goredis.XAddArgs{Stream: liveKey, Values: []any{liveField, text}})
	}
	p := s.Pipeline()
	add(p, strings.Repeat("x", 10<<20))
	add(p, "\x01\xff\xff\xff")
	add(p, writeNotice(nil, []announcement{{key: balancer.AffinityKey{Stream: "\xff\xfe\n"}, server: server}}))
	add(p, writeNotice(nil, []announcement{{key: balancer.AffinityKey{Stream: "lost"}, server: "srs-proxy-server:nobody"}}))
	for n := 0; n < 300_000; n += maxBindings {
		var all []announcement
		for i := range maxBindings {
			all = append(all, announcement{key: balancer.AffinityKey{Stream: fmt.Sprintf("flood/%d", n+i)}, server: server, published: true})
		}
		add(p, writeNotice(nil, all))
	}
	_, err := p.Exec(t.Context())
	must(t, err)
	news := calls(t, s, "xread", "calls")
	rounds := s.rounds(t)
	until(t, "the bound to be reached", func() bool { return b.announcer.live.len() == maxLive })
	if reads, n := calls(t, s, "xread", "calls")-news, s.rounds(t)-rounds; reads > (n+2)*(maxNoticesRead+1) {
		t.Errorf("%d reads in %d rounds", reads, n)
	}
	until(t, "the log to be told", func() bool { return b.log.count("bindings that cannot be used") == 1 })
	if _, ok := b.announcer.live.find(balancer.AffinityKey{Stream: "\xff\xfe\n"}); !ok {
		t.Error("a key that is no UTF-8 was not taken")
	}
	if ok, _, detail := b.State(); !ok {
		t.Errorf("counts as an outage: %s", detail)
	}
	s.kill()
	b.away()
	if n := b.met(published); n != 20 {
		t.Errorf("%d of 20 players met their publisher", n)
	}
}

// The keys are bounded in bytes, too.
func TestLongKeysAreBounded(t *testing.T) {
	t.Parallel()
	l, n := newLiveBindings(), 0
	for i := range maxLiveKeyBytes/1000 + 1000 {
		if l.note(balancer.AffinityKey{Stream: fmt.Sprintf("%01000d", i)}, "a", false, 0) {
			n++
		}
	}
	if l.bytes > maxLiveKeyBytes || n != maxLiveKeyBytes/1000 {
		t.Errorf("%d keys of 1,000 bytes, %d bytes", n, l.bytes)
	}
}

// The bug: a binding for whose long key there was no room was announced in every round, by every
// relay, which is more than a relay reads.
func TestBindingWithoutRoomIsSeldomDue(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"short keys": 8, "long keys": 1000} {
		l := newLiveBindings()
		key := func(i int) balancer.AffinityKey {
			return balancer.AffinityKey{Stream: fmt.Sprintf("%0*d", size, i)}
		}
		for i := 0; l.note(key(i), "a", true, 0); i++ {
		}
		due := 0
		for range 2 * announceRounds {
			l.round++
			if l.due(key(-1), "a", true) {
				due++
			}
		}
		if due != 2*sweepRounds {
			t.Errorf("%s: due in %d of %d rounds, want %d", name, due, 2*announceRounds, 2*sweepRounds)
		}
	}
}

// A master is killed and the sentinels promote its replica: the shared state is
// in use again soon after, with what it held.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	master := startRedis(t)
	host, port, _ := net.SplitHostPort(master.addr)
	replica := startRedis(t, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
	until(t, "the replica to follow", func() bool {
		return strings.Contains(replica.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	sentinel := startSentinel(t, master, "mymaster",
		"down-after-milliseconds mymaster 500", "failover-timeout mymaster 5000")
	asked := goredis.NewSentinelClient(&goredis.Options{Addr: sentinel, Protocol: 2, DisableIdentity: true})
	defer asked.Close()
	until(t, "the sentinel to know the replica", func() bool {
		all, err := asked.Replicas(t.Context(), "mymaster").Result()
		return err == nil && len(all) == 1
	})
	servers := Servers{Mode: "sentinel", Addrs: []string{sentinel}, Master: "mymaster"}
	a, b := openWith(t, 3, servers).ready(), openWith(t, 3, servers).ready()
	published := a.publishers(20)
	b.awaitLive(20)
	until(t, "the replica to have it all", func() bool {
		return master.DBSize(t.Context()).Val() == replica.DBSize(t.Context()).Val()
	})
	master.kill()
	a.away()
	b.away()
	if n := b.met(published); n != 20 {
		t.Errorf("%d of 20 players met their publisher before the failover", n)
	}
	until(t, "the replica to be promoted", func() bool {
		return strings.Contains(replica.Info(t.Context(), "replication").Val(), "role:master")
	})
	promoted := time.Now()
	a.ready()
	b.ready()
	took := time.Since(promoted)
	t.Logf("in use %v after the replica was promoted", took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Errorf("in use %v after the replica was promoted", took)
	}
	until(t, "a new binding to be exchanged", func() bool {
		got := a.stream("new")
		return replica.Get(t.Context(), urlPrefix+"new").Val() == serverKey(staticPrefix+got.ID)
	})
	for i, id := range published {
		if got := b.stream(key(i)); got.ID != id {
			t.Errorf("%s has moved from %s to %s", key(i), id, got.ID)
		}
	}
}
