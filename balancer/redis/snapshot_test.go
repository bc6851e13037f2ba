package redis

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
	"srtrelay/internal/golden"
	"srtrelay/internal/message"
)

// boot is when CLOCK_MONOTONIC was 0, by the clock of this process.
var boot = time.Now().Add(-time.Hour)

// takeOver pauses a relay and restores another one from it, as the processes do. The
// registry is not part of this package: both have the same backends.
func (r *relay) takeOver(next *relay) {
	r.Helper()
	r.Pause()
	for _, b := range r.reg.Snapshot().Backends {
		must(r.T, next.reg.Put(b))
	}
	must(r.T, next.memory.Restore(r.memory.AppendSnapshot(nil, boot), boot))
	must(r.T, next.Restore(r.AppendSnapshot(nil, boot), boot))
}

// everything returns the keys and values in Redis, without the stream of notices.
func everything(t *testing.T, s *server) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, key := range s.Keys(t.Context(), "*").Val() {
		switch s.Type(t.Context(), key).Val() {
		case "string":
			all[key] = s.Get(t.Context(), key).Val()
		case "set":
			members := s.SMembers(t.Context(), key).Val()
			slices.Sort(members)
			all[key] = strings.Join(members, " ")
		}
	}
	delete(all, probeKey)
	return all
}

// A binding neither vanishes nor doubles while one process takes over from another, and
// the end of the one before removes nothing.
func TestTakeOverKeepsBindings(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	old := openWith(t, 2, at(s.addr), random).ready()
	server := old.register("a", 31000)
	proven := backend.Query{Key: "v/live/cam", ProxyKey: "v/live/cam.01", Group: 7, Publish: true}
	l := old.ask(proven)
	old.Report(backend.Outcome{Lease: l.Lease, Fate: backend.FateBegan})
	bindings := []string{urlPrefix + "v/live/cam", urlPrefix + "v/live/cam.01", groupPrefix + "7"}
	renewed := func() bool {
		return !slices.ContainsFunc(bindings, func(key string) bool {
			left := s.PTTL(t.Context(), key).Val()
			return left <= old.renewedTTL || left > old.bindTTL
		})
	}
	until(t, "the bindings to be renewed for long", renewed)
	until(t, "the server's entry", func() bool { return s.Exists(t.Context(), serverKey(server)).Val() == 1 })

	next := openWith(t, 2, at(s.addr), random).ready()
	old.takeOver(next)
	before := everything(t, s)
	if len(before) < 6 { // three bindings, the server, the set
		t.Fatalf("Redis has %v", before)
	}
	// Without renewals, of which the take-over itself makes one, they would vanish.
	for range 3 {
		for _, key := range bindings {
			must(t, s.PExpire(t.Context(), key, old.renewedTTL).Err())
		}
		until(t, "the bindings to be renewed by the next process", renewed)
		for _, key := range bindings {
			if got := s.Get(t.Context(), key).Val(); got != before[key] {
				t.Fatalf("%s is at %q, was at %q", key, got, before[key])
			}
		}
	}
	old.Abandon()
	if got := next.ask(backend.Query{Key: proven.Key}); got.ID != l.ID {
		t.Errorf("a player goes to %s, the publisher is at %s", got.ID, l.ID)
	}
	if s.Exists(t.Context(), serverKey(server)).Val() != 1 {
		t.Error("the server's entry is gone")
	}
	// What the one before had written is the next one's to remove.
	next.reg.Remove(server)
	until(t, "the server's entry to be removed", func() bool { return s.Exists(t.Context(), serverKey(server)).Val() == 0 })
	next.Report(backend.Outcome{Lease: l.Lease, Fate: backend.FateEnded, Lasted: time.Hour})
	for _, b := range next.memory.Bindings() {
		if b.Key.Group != 0 {
			t.Errorf("%+v outlives its session", b)
		}
	}
}

// While it is paused a relay neither renews nor removes anything; afterwards it goes on.
func TestPause(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := openWith(t, 1, at(s.addr), func(m *balancer.Memory) { m.Affinity = 500 * time.Millisecond }).ready()
	kept, failed := r.stream("kept"), r.stream("failed")
	r.Report(backend.Outcome{Lease: kept.Lease, Fate: backend.FateBegan})
	until(t, "a binding to be renewed for long", func() bool { return r.renewed(s, "kept") })
	r.Pause()
	r.Pause()
	r.Report(backend.Outcome{Lease: failed.Lease, Fate: backend.FateRefused})
	must(t, s.PExpire(t.Context(), urlPrefix+"kept", 10*hurry).Err()) // of rounds, any of which would renew it
	until(t, "an unrenewed binding to expire", func() bool { return s.Exists(t.Context(), urlPrefix+"kept").Val() == 0 })
	must(t, s.Set(t.Context(), urlPrefix+"failed", serverKey(staticPrefix+failed.ID), time.Minute).Err())
	r.Resume()
	r.Resume()
	until(t, "the binding to be written again", func() bool { return s.Exists(t.Context(), urlPrefix+"kept").Val() == 1 })
	if ok, _, detail := r.State(); !ok {
		t.Errorf("Redis is away: %s", detail)
	}
}

// A relay that is paused while Redis is away writes nothing when that is back.
func TestPauseWithoutRedis(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := openWith(t, 1, at(s.addr)).ready()
	kept := r.stream("kept")
	r.Report(backend.Outcome{Lease: kept.Lease, Fate: backend.FateBegan})
	s.kill()
	until(t, "Redis to be away", func() bool { ok, _, _ := r.State(); return !ok })
	r.Pause()
	s.start()
	// No event says that an attempt to reconnect has not been made.
	for end := time.Now().Add(lastRetry + syncEvery); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok, _, _ := r.State(); ok {
			t.Fatal("a paused relay reconnects")
		}
	}
	if all := everything(t, s); len(all) > 0 {
		t.Errorf("Redis has %v", all)
	}
	r.Resume()
	until(t, "the binding to be written again", func() bool { return s.Exists(t.Context(), urlPrefix+"kept").Val() == 1 })
}

// The end of a relay that was taken over removes nothing, whatever it still had to do.
func TestAbandon(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := openWith(t, 1, at(s.addr)).ready()
	server := r.register("a", 31000)
	until(t, "the server's entry", func() bool { return s.Exists(t.Context(), serverKey(server)).Val() == 1 })
	l := r.stream("failed")
	r.Pause()
	before := everything(t, s)
	r.Report(backend.Outcome{Lease: l.Lease, Fate: backend.FateRefused})
	r.reg.Remove(server)
	r.Abandon()
	if after := everything(t, s); !reflect.DeepEqual(after, before) {
		t.Errorf("Redis had %v, and has %v", before, after)
	}
}

// A process that takes over while Redis is away finds the streams of other relays.
func TestTakeOverWithoutRedis(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	other, old := openWith(t, 20, at(s.addr), random).ready(), openWith(t, 20, at(s.addr), random).ready()
	want := map[string]backend.ID{}
	for i := range 20 {
		l := other.stream(key(i))
		other.Report(backend.Outcome{Lease: l.Lease, Fate: backend.FateBegan})
		want[key(i)] = l.ID
	}
	until(t, "the streams to be announced", func() bool { return old.announcer.live.len() == len(want) })
	s.kill()
	next := openWith(t, 20, at(s.addr), random)
	if next.Reached() {
		t.Fatal("reached a Redis that is away")
	}
	old.takeOver(next)
	if !next.Reached() {
		t.Error("a relay that was ready is not any more")
	}
	for k, id := range want {
		if got := next.ask(backend.Query{Key: k}); got.ID != id {
			t.Errorf("a player of %s goes to %s, want %s", k, got.ID, id)
		}
	}
	if n := next.ReleaseExcept(func(backend.Lease) bool { return false }); n != len(want) {
		t.Errorf("%d leases released, want %d", n, len(want))
	}
}

// idle returns a Balancer without a Redis and without tasks.
func idle() *Balancer {
	b := &Balancer{
		circuit: newCircuit(nil), announcer: newAnnouncer(), proxyKeys: proxyKeys{byKey: map[string][]string{}},
		handover: handover{renew: make(chan struct{}, 1)}, orders: newOrders(nil),
	}
	b.relayID.Store(new("own"))
	return b
}

// describe returns what a snapshot of a Balancer has.
func describe(b *Balancer) map[string]any {
	all := map[string]any{"reached": b.Reached(), "published": b.handover.published(), "proxy": b.proxyKeys.byKey}
	for key, v := range b.announcer.live.byKey {
		all[key.Stream] = [3]any{v.at, b.announcer.live.round - v.announced, b.announcer.live.hasPublisher(v)}
	}
	return all
}

// goldenFile has a snapshot of version 1 as it was first written.
const goldenFile = "testdata/snapshot-1.hex"

func TestGoldenSnapshot(t *testing.T) {
	begin := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	b := idle()
	b.circuit.noteReached()
	b.handover.notePublished(map[string]time.Time{"srs-proxy-server:a": begin.Add(time.Minute)})
	b.proxyKeys.note(backend.Query{Key: "live/cam", ProxyKey: "live/cam.01"})
	b.announcer.live.round = 100
	b.announcer.live.note(balancer.AffinityKey{Stream: "live/a"}, "b0", true, 3)
	b.announcer.live.note(balancer.AffinityKey{Group: 9}, "b1", false, 0)
	old := golden.Hex(t, goldenFile, func() []byte { return b.AppendSnapshot(nil, begin) })
	next := idle()
	must(t, next.Restore(old, begin))
	if got, want := describe(next), describe(b); !reflect.DeepEqual(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
	for name, text := range map[string][]byte{
		"empty": nil, "other version": message.AppendVersion(nil, 99), "half": old[:len(old)-3],
		"live of nobody": message.AppendBytes(message.AppendVersion(nil, 1), sharedLive, "\x0a\x01a\x18\x01\x20\x01"),
	} {
		next := idle()
		err := next.Restore(text, begin)
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "snapshot of the shared state: ") {
			t.Errorf("%s: %v", name, err)
		}
		if next.announcer.live.len() > 0 || next.Reached() {
			t.Errorf("%s: changed the relay", name)
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(golden.Hex(f, goldenFile, nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		b := idle()
		if b.Restore(text, boot) != nil {
			return
		}
		next := idle()
		if err := next.Restore(b.AppendSnapshot(nil, boot), boot); err != nil {
			t.Fatal(err)
		}
	})
}
