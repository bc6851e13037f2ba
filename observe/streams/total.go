package streams

import (
	"context"
	"sync"
	"time"

	"srtrelay/api/answer"
	"srtrelay/observe/telemetry"
	"srtrelay/shard"
)

// total sums up the sessions of a stream.
type total struct {
	answer.Stream
	now   second // present rates, RTT and loss
	found bool   // there is a session
}

// add adds an established session.
func (t *total) add(v *shard.View, r *rates) {
	if !t.found {
		t.found, t.now = true, unknown
		t.Key, t.Since = v.Key, v.Begun
	}
	if v.Begun.Before(t.Since) {
		t.Since = v.Begun
	}
	// A stream has one backend, except for sessions from before it moved. The
	// publisher's is the present one.
	if t.Sessions == 0 || v.Publish {
		t.Backend = ref(v)
	}
	t.Sessions++
	if v.Publish {
		t.Publishers++
		t.BytesIn += v.ToBackend.Bytes
	} else {
		t.Players++
		t.BytesOut += v.ToCaller.Bytes
	}
	t.Encrypted = t.Encrypted || v.Terms.Cipher != telemetry.CipherNone
	for _, q := range v.Ways {
		t.Retransmitted += q.Retransmitted
		t.Dropped += q.Dropped
	}
	if *r != (rates{}) {
		t.countLossy(r)
		caller, backend := roundTrips(&v.Sample)
		t.now.add(v.Publish, r, caller, backend)
	}
}

// countLossy counts the legs on which a session loses media.
func (t *total) countLossy(r *rates) {
	lossy := func(l ratio) bool { return l.known() && 100*l.share() >= answer.NoticedLoss }
	if r.caller.known() || r.backend.known() {
		t.Rated++
	}
	if lossy(r.caller) {
		t.CallerLossy++
	}
	if lossy(r.backend) {
		t.BackendLossy++
	}
}

// finish copies the present values to the answer.
func (t *total) finish() {
	t.now.complete()
	t.BitrateIn, t.BitrateOut = float64(t.now[bitrateIn]), float64(t.now[bitrateOut])
	t.CallerRTT, t.BackendRTT = t.now.known(callerRTT), t.now.known(backendRTT)
	t.CallerLoss, t.BackendLoss = t.now.known(callerLoss), t.now.known(backendLoss)
}

func (s *second) known(k int) *float64 {
	if isNaN(s[k]) {
		return nil
	}
	return new(float64(s[k]))
}

// totals are all streams at one time. They are immutable.
type totals struct {
	list  []answer.Stream
	taken time.Time
}

// totalsMaxAge is how long totals are cached: summing up a hundred thousand sessions
// costs the shards some ten milliseconds.
const totalsMaxAge = time.Second

// cache holds the last totals. If they are too old, one caller computes new ones, and
// the others wait for it.
type cache struct {
	turn chan struct{} // holds one token: the right to compute them
	mu   sync.Mutex
	last *totals
}

func newCache() *cache {
	c := &cache{turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
}

func (c *cache) get() *totals {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || time.Since(c.last.taken) >= totalsMaxAge {
		return nil
	}
	return c.last
}

func (c *cache) put(t *totals) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = t
}

// totals returns all streams, at most totalsMaxAge old.
func (w *Watch) totals(ctx context.Context) (*totals, error) {
	if t := w.all.get(); t != nil {
		return t, nil
	}
	select {
	case <-w.all.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { w.all.turn <- struct{}{} }()
	if t := w.all.get(); t != nil {
		return t, nil // another caller computed them meanwhile
	}
	t, err := w.sumUp(ctx)
	if err != nil {
		return nil, err
	}
	w.all.put(t)
	return t, nil
}

// sumUp computes the totals of all streams.
func (w *Watch) sumUp(ctx context.Context) (*totals, error) {
	all := &totals{taken: w.wallTime()}
	byKey := make(map[string]*total)
	views := make([]shard.View, sliceSize)
	err := walk(ctx, w.group, views, shard.Filter{State: established}, func(views []shard.View) {
		for i := range views {
			v := &views[i]
			t := byKey[v.Key]
			if t == nil {
				t = new(total)
				byKey[v.Key] = t
			}
			r := w.ratesOf(v.ID)
			t.add(v, &r)
		}
	})
	if err != nil {
		return nil, err
	}
	all.list = make([]answer.Stream, 0, len(byKey))
	for _, t := range byKey {
		t.finish()
		all.list = append(all.list, t.Stream)
	}
	return all, nil
}
