package redis

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// foreign has SRS's proxy write n servers, and waits until a relay knows them.
func (r *relay) foreign(s *server, n int) {
	r.Helper()
	var all [][2]string
	for i := range n {
		key, text := proxied(fmt.Sprintf("vid-%03d", i), 10001+i)
		all = append(all, [2]string{key, text})
	}
	s.write(r.T, all...)
	until(r.T, "the servers to be known", func() bool { return len(r.reg.Snapshot().Backends) == n })
	for _, b := range r.reg.Snapshot().Backends {
		r.reg.MarkAlive(b.ID, 0, time.Now())
	}
}

// Redis stops in the midst of its answers to a pipeline and goes on after the outage: what has
// not been read is neither missing nor removed.
func TestStallInTheMidstOfAnswers(t *testing.T) {
	t.Parallel()
	const servers = 100
	s := startRedis(t)
	wire := newLink(t, s.addr)
	w := patience
	w.pick, w.sync = 5*time.Second, 500*time.Millisecond
	r := openWaiting(t, w, time.Hour, 0, at(wire.addr())).ready()
	r.foreign(s, servers)
	array := s.Get(t.Context(), arrayKey).Val()
	for _, n := range []int{0, 10, 3000, 10_000, 20_000} {
		release := wire.stallAfter(t, n)
		r.away()
		r.stream(key(n))
		release()
		r.ready()
		until(t, "the stream to be written", func() bool { return s.Exists(t.Context(), urlPrefix+key(n)).Val() == 1 })
		if got := len(r.reg.Snapshot().Backends); got != servers {
			t.Errorf("after a stall at byte %d: %d servers of %d", n, got, servers)
		}
		if got := s.Get(t.Context(), arrayKey).Val(); got != array {
			t.Errorf("after a stall at byte %d the array is %s", n, got)
		}
	}
}

// The bug: Redis executed the claim of a pick that had not waited for its answer. The pick had
// placed its stream by hash, and the players went where the claim had it.
func TestLateClaimPartsNobody(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	w := patience
	w.pick = pickWait
	r := openWaiting(t, w, 30*time.Second, 9, at(s.addr), random).ready()
	r.crowd(1000, 10*resolvers) // each has a connection
	must(t, s.cmd.Process.Signal(syscall.SIGSTOP))
	published := make([]backend.ID, resolvers)
	var all sync.WaitGroup
	for i := range published {
		all.Go(func() {
			got := r.stream(key(i))
			r.Report(backend.Outcome{Lease: got.Lease, Fate: backend.FateBegan})
			published[i] = got.ID
		})
	}
	all.Wait()
	must(t, s.cmd.Process.Signal(syscall.SIGCONT))
	r.ready()
	if n := r.met(published); n != len(published) {
		t.Errorf("%d of %d players met their publisher", n, len(published))
	}
	for i, id := range published {
		if got := s.Get(t.Context(), urlPrefix+key(i)).Val(); got != serverKey(staticPrefix+id) {
			t.Errorf("the publisher of %s is at %s, Redis has %s", key(i), id, got)
		}
	}
}

// The bug: when Redis had lost its keys, a relay without sessions of a stream placed it anew
// before the one with its publisher had renewed the binding.
func TestLostKeysPartNobody(t *testing.T) {
	t.Parallel()
	for name, setting := range map[string]func(*balancer.Memory){"players create": random, "players follow": playersFollow} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startRedis(t)
			a, b := openWith(t, 9, at(s.addr), random).ready(), openWith(t, 9, at(s.addr), setting).ready()
			published := a.publishers(50)
			b.awaitLive(50)
			a.unhurried()
			b.unhurried()
			must(t, s.FlushAll(t.Context()).Err())
			if n := b.met(published); n != 50 {
				t.Errorf("%d of 50 players met their publisher", n)
			}
			until(t, "Redis to be filled again", func() bool {
				return len(s.bindings(t)) == 50 && s.SCard(t.Context(), setKey).Val() == 9
			})
			if ok, _, detail := b.State(); !ok {
				t.Errorf("counts as an outage: %s", detail)
			}
		})
	}
}

// A relay's Redis becomes a replica of another one, as after a failover that the relay has not
// been told of: it counts as away, and is used again when it takes writes.
func TestReadOnlyReplica(t *testing.T) {
	t.Parallel()
	s, master := startRedis(t), startRedis(t)
	r := openWith(t, 5, at(s.addr)).ready()
	kept := r.publishers(1)[0]
	host, port, _ := strings.Cut(master.addr, ":")
	must(t, s.ReplicaOf(t.Context(), host, port).Err())
	r.away()
	if got := r.ask(backend.Query{Key: key(0)}); got.ID != kept {
		t.Errorf("the publisher is at %s, its player at %s", kept, got.ID)
	}
	r.stream(key(1))
	until(t, "some tries", func() bool { return calls(t, s, "set", "rejected_calls") > 3 })
	if _, _, detail := r.State(); !strings.Contains(detail, "READONLY") && !strings.Contains(detail, "LOADING") && !strings.Contains(detail, "MASTERDOWN") {
		t.Errorf("%q", detail)
	}
	if n := r.log.count("shared state in use"); n != 1 {
		t.Errorf("taken for good again %d times", n-1)
	}
	must(t, s.ReplicaOf(t.Context(), "NO", "ONE").Err())
	r.ready()
	for i := range 2 {
		until(t, "the streams to be written again", func() bool { return s.Exists(t.Context(), urlPrefix+key(i)).Val() == 1 })
	}
}

// The bug: of two processes at one address, the one whose entry had the later time counted. A
// relay whose clock was an hour ahead kept a server that had ended in the place of the one that
// had followed it.
func TestClockAnHourAhead(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := open(t, at(s.addr)).ready()
	entry := func(pid string, clock time.Time) backend.ID {
		key, text := proxied("vid-one", 10081)
		text = strings.Replace(strings.Replace(text, "2026-01-01T12:00:00.123456789+08:00", clock.Format(time.RFC3339Nano), 1), "4321", pid, 1)
		key = strings.Replace(key, "4321", pid, 1)
		must(t, s.Set(t.Context(), key, text, 5*time.Minute).Err())
		must(t, s.SAdd(t.Context(), setKey, key).Err())
		return backend.ID(strings.TrimPrefix(key, serverPrefix))
	}
	old := entry("1", time.Now().Add(time.Hour))
	r.known(old)
	next := entry("2", time.Now())
	stop := repeat(hurry, func() { entry("2", time.Now()) })
	defer stop()
	r.known(next)
	until(t, "the old process to be forgotten", func() bool { _, still := r.reg.Snapshot().Find(old); return !still })
	rounds := s.rounds(t)
	until(t, "three rounds", func() bool { return s.rounds(t) >= rounds+3 })
	if all := r.reg.Snapshot().Backends; len(all) != 1 || all[0].ID != next {
		t.Errorf("%+v", all)
	}
}
