package relay

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/api"
	"srtrelay/api/answer"
	"srtrelay/backend"
	"srtrelay/config"
	"srtrelay/internal/golden"
	"srtrelay/observe/metrics"
	"srtrelay/observe/streams"
	"srtrelay/relay/overload"
	"srtrelay/shard"
)

// parts returns a relay without shards and tasks.
func parts(t testing.TB, flags ...string) *relay {
	t.Helper()
	c, err := config.Load(flags, func(string) (string, bool) { return "", false }, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{config: c, process: process{log: slog.New(slog.DiscardHandler)}, registry: backend.NewRegistry(), bitrates: new(bitrates)}
	if err := addStaticBackends(r.registry, c); err != nil {
		t.Fatal(err)
	}
	r.balancer = openBalancer(r.registry, c, r.bitrates, nil, nil, r.process)
	r.quality, r.sinks = metrics.NewQuality(), newEventSinks()
	r.watch, r.reloads, r.logins = streams.New(nil, nil, r.log), new(reloads), api.NewLogins()
	r.reloads.current.Store(&r.config)
	r.overload = newOverloadMonitor(r, func(overload.Step) {})
	return r
}

// inUse returns a relay with a backend of each kind, a session, an event and a count, and
// the session's lease.
func inUse(t testing.TB) (*relay, backend.Lease) {
	t.Helper()
	r := parts(t, "--backend=10.0.0.1:10080", "--backend=10.0.0.2:10080")
	reg := backend.Registration{Server: "vid", Service: "s", PID: "1", SRT: []string{"10080"}}
	if _, err := r.registry.Register(reg, netip.MustParseAddrPort("10.0.1.1:10080"), time.Now(), time.Minute); err != nil {
		t.Fatal(err)
	}
	r.registry.MarkAlive("10.0.0.1:10080", 2, time.Now())
	at, err := r.balancer.Pick(context.Background(), backend.Query{Key: "live/a", Publish: true})
	if err != nil {
		t.Fatal(err)
	}
	r.balancer.Report(backend.Outcome{Lease: at.Lease, Fate: backend.FateBegan})
	r.registry.MarkAlive("10.0.0.2:10080", 0, time.Now())
	r.registry.MarkAlive("vid-s-1", 3, time.Now())
	r.reloads.count(nil)
	e := shard.Event{Kind: shard.EventSessionEnded, Cause: shard.CauseIdle, Took: time.Minute, Key: "live/b"}
	r.sinks.counted.Count(e)
	r.sinks.feed.Publish(eventAnswer(e, time.Now()))
	return r, at.Lease
}

// check checks that a relay goes on as the one of inUse.
func check(t *testing.T, r *relay, lease backend.Lease) {
	t.Helper()
	if n, _ := r.registry.Snapshot().Availability(time.Now()); n != 2 || r.registry.Snapshot().KeyLen != 3 {
		t.Errorf("%d backends are available, key length %d", n, r.registry.Snapshot().KeyLen)
	}
	if succeeded, failed, _ := r.reloads.stats(); succeeded != 1 || failed != 0 {
		t.Errorf("%d reloads succeeded, %d failed", succeeded, failed)
	}
	if b, _ := r.registry.Snapshot().Find("10.0.0.1:10080"); !b.Removed || b.Down {
		t.Errorf("%+v", b)
	}
	at, err := r.balancer.Pick(t.Context(), backend.Query{Key: "live/a"})
	if err != nil || at.ID != "10.0.0.1:10080" || at.Lease == lease {
		t.Errorf("a player goes to %+v, %v", at, err)
	}
	if released, _ := r.balancer.memory.ReleaseExcept(func(l backend.Lease) bool { return l == lease }); released != 1 {
		t.Errorf("%d leases released", released)
	}
	if !r.balancer.memory.InUse("10.0.0.1:10080") {
		t.Error("the session's backend is not in use")
	}
	if next, err := r.balancer.Pick(t.Context(), backend.Query{Key: "live/new", Publish: true}); err != nil || next.ID == "10.0.0.1:10080" {
		t.Errorf("a new stream goes to %+v, %v", next, err)
	}
}

func TestRelaySnapshot(t *testing.T) {
	old, lease := inUse(t)
	text, err := old.appendSnapshot(nil)
	if err != nil {
		t.Fatal(err)
	}
	next := parts(t, "--backend=10.0.0.2:10080")
	if err := next.restore(text); err != nil {
		t.Fatal(err)
	}
	check(t, next, lease)
	// Both publish: only the one that took over has a new event.
	old.sinks.feed.Publish(answer.Event{Kind: answer.EventBackendChanged})
	next.sinks.feed.Publish(answer.Event{Kind: answer.EventBackendChanged})
	before, after := old.sinks.feed.AppendSnapshot(nil), next.sinks.feed.AppendSnapshot(nil)
	if old.resumeEvents(false); bytes.Equal(before, after) || bytes.Equal(before, old.sinks.feed.AppendSnapshot(nil)) {
		t.Error("the events of the process before were not held, or are lost when it resumes")
	}
}

// The shards' last events are published before the feed is handed on.
func TestSnapshotHasTheLastEvents(t *testing.T) {
	r := parts(t, "--backend=10.0.0.2:10080")
	ctx, end := context.WithCancel(t.Context())
	events := make(chan *shard.Event, 100)
	for range cap(events) {
		events <- &shard.Event{Kind: shard.EventSessionBegun, Key: "live/last"}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		newEventLog(r.log, r.sinks).run(ctx, events)
	}()
	text, err := r.appendSnapshot(nil)
	if err != nil {
		t.Fatal(err)
	}
	end()
	<-ended
	if n := bytes.Count(text, []byte("live/last")); n != cap(events) {
		t.Errorf("the snapshot has %d events of %d", n, cap(events))
	}
}

// goldenFile has a snapshot of version 1 as it was first written.
const goldenFile = "testdata/snapshot-1.hex"

func TestGoldenSnapshot(t *testing.T) {
	good := golden.Hex(t, goldenFile, func() []byte {
		old, _ := inUse(t)
		return old.appendSnapshotAt(nil, time.Now().Add(-time.Hour))
	})
	next := parts(t, "--backend=10.0.0.2:10080")
	if err := next.restoreAt(good, time.Now().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if loads := next.balancer.memory.Loads(); loads["10.0.0.1:10080"].Sessions != 1 {
		t.Errorf("%+v", loads)
	}
	for name, b := range map[string][]byte{"empty": nil, "half": good[:len(good)/2], "without its end": good[:len(good)-1]} {
		if err := parts(t).restore(b); err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "snapshot of the relay: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for k := range good { // every bit that flips is noticed
		bad := slices.Clone(good)
		bad[k] ^= 1 << (k % 8)
		if _, err := snapshotParts(bad); err == nil {
			t.Fatalf("byte %d has flipped, and nobody has noticed", k)
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(golden.Hex(f, goldenFile, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = parts(t, "--backend=10.0.0.2:10080").restoreAt(b, time.Now().Add(-2*time.Hour))
	})
}
