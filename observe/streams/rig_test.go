package streams

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"srtrelay/backend"
	"srtrelay/observe/telemetry"
	"srtrelay/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeShards hold views that the test changes, and give them in small slices.
type fakeShards struct {
	mu     sync.Mutex
	views  map[shard.SessionID]*shard.View
	walks  int // from the beginning
	most   int // per slice
	takes  time.Duration
	err    error
	kicked []shard.SessionID
}

func newFake() *fakeShards {
	return &fakeShards{views: map[shard.SessionID]*shard.View{}, most: 3}
}

func (f *fakeShards) Walk(ctx context.Context, from shard.Cursor, dst []shard.View, want shard.Filter) (n int, next shard.Cursor, done bool, err error) {
	time.Sleep(f.takes) // of a synctest's clock
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return 0, from, false, f.err
	}
	if from == (shard.Cursor{}) {
		f.walks++
	}
	ids := slices.SortedFunc(maps.Keys(f.views), func(a, b shard.SessionID) int { return int(a.Index) - int(b.Index) })
	for _, id := range ids {
		v := f.views[id]
		if id.Index < from.Index || want.State != "" && v.State != want.State ||
			want.Key != nil && v.Key != *want.Key || want.Backend != "" && v.BackendID != want.Backend ||
			want.Role != shard.RoleAny && v.Publish != (want.Role == shard.RolePublisher) {
			continue
		}
		if n == min(len(dst), f.most) {
			return n, shard.Cursor{Index: id.Index}, false, ctx.Err()
		}
		dst[n] = *v
		n++
	}
	return n, shard.Cursor{Shard: 1}, true, ctx.Err()
}

func (f *fakeShards) Samples(ctx context.Context, from shard.Cursor, dst []shard.Sample, since time.Time) (n int, next shard.Cursor, done bool, err error) {
	views := make([]shard.View, min(len(dst), f.most))
	found, next, done, err := f.Walk(ctx, from, views, shard.Filter{State: established})
	for _, v := range views[:found] {
		if !v.Media.Before(since) {
			dst[n] = v.Sample
			n++
		}
	}
	return n, next, done, err
}

func (f *fakeShards) Session(_ context.Context, id shard.SessionID) (shard.View, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v := f.views[id]; v != nil && f.err == nil {
		return *v, true, nil
	}
	return shard.View{}, false, f.err
}

func (f *fakeShards) Kick(_ context.Context, id shard.SessionID) (bool, error) {
	f.kicked = append(f.kicked, id)
	return f.views[id] != nil, f.err
}

// rig is a Watch whose seconds the test makes.
type rig struct {
	*Watch
	shards *fakeShards
	t      *testing.T
	now    time.Time
}

// began is when the rig's clock starts.
var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newRig(t *testing.T) *rig {
	f := newFake()
	return &rig{Watch: New(f, nil, slog.New(slog.DiscardHandler)), shards: f, t: t, now: began}
}

// add makes an established session.
func (r *rig) add(index uint32, key string, publish bool) *shard.View {
	v := &shard.View{
		Sample: shard.Sample{
			ID: shard.SessionID{Shard: 0, Index: index, Gen: 7}, Key: key, Publish: publish,
			Begun: r.now.Add(30 * time.Millisecond), Taken: r.now,
		},
		State:    established,
		StreamID: "#!::r=" + key + ",token=abc", Caller: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(1000+index)),
		Backend: netip.MustParseAddrPort("10.1.0.1:10080"), BackendID: backend.ID("b1"),
		CallerSocket: 100 + index, BackendSocket: 200 + index,
		Opened: r.now, Seen: r.now,
	}
	r.shards.views[v.ID] = v
	return v
}

// flow adds media to a session: packets of 1316 bytes in datagrams of 1332.
func flow(v *shard.View, way telemetry.Way, packets uint64) {
	f := &v.ToBackend
	if way == telemetry.ToCaller {
		f = &v.ToCaller
	}
	f.Packets += packets
	f.Bytes += packets * 1332
	v.Ways[way].Packets += packets
	v.Ways[way].Bytes += packets * 1316
}

// pass lets a second pass, in which the given sessions carried media.
func (r *rig) pass(active ...*shard.View) {
	r.t.Helper()
	r.now = r.now.Add(step)
	for _, v := range r.shards.views {
		v.Taken = r.now
	}
	for _, v := range active {
		v.Media, v.Seen = r.now.Add(-step/2), r.now
	}
	if err := r.tick(r.t.Context(), r.now); err != nil {
		r.t.Fatal(err)
	}
}

// timed gives a way a round trip measured by the relay and one by its receiver.
func timed(v *shard.View, way telemetry.Way, relay, receiver time.Duration) {
	q := &v.Ways[way]
	q.RTT, q.RTTVar, q.Timed = relay, relay/4, true
	q.Heard, q.Receiver.RTT, q.Receiver.RTTVar = receiver != 0, uint32(receiver.Microseconds()), 1000
}

// near compares to a ten thousandth.
func near(got, want float64) bool {
	return got == want || got > want*0.9999 && got < want*1.0001
}

// shown is a value that may be missing.
func shown(x *float64) string {
	if x == nil {
		return "none"
	}
	return fmt.Sprintf("%.3f", *x)
}

// followed counts the tracks.
func (r *rig) followed() (n int) {
	r.tracks.sweep(func(*track) bool {
		n++
		return true
	})
	return n
}

// historyUse is the result of Histories.
type historyUse struct{ kept, leftOut int }

func (r *rig) historyUse() (h historyUse) {
	h.kept, h.leftOut = r.Histories()
	return h
}
