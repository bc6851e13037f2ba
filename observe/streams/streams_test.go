package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/api/answer"
	"srtrelay/observe/telemetry"
	"srtrelay/shard"
)

// busy makes a stream of one publisher and two players with a second of
// media.
func (r *rig) busy(first uint32, key string, packets uint64) (publisher, near, far *shard.View) {
	const ms = time.Millisecond
	r.pass()
	near, far, publisher = r.add(first, key, false), r.add(first+1, key, false), r.add(first+2, key, true)
	for _, v := range []*shard.View{publisher, near, far} {
		v.Begun = r.now
	}
	timed(publisher, telemetry.ToBackend, 30*ms, 40*ms)
	timed(near, telemetry.ToCaller, 5*ms, 15*ms)
	timed(far, telemetry.ToCaller, 5*ms, 205*ms)
	flow(publisher, telemetry.ToBackend, packets)
	flow(near, telemetry.ToCaller, packets)
	flow(far, telemetry.ToCaller, packets)
	far.Ways[telemetry.ToCaller].LostBehind = packets / 10
	far.Ways[telemetry.ToCaller].Retransmitted = packets / 10
	publisher.Ways[telemetry.ToBackend].Dropped = 3
	r.pass(publisher, near, far)
	return publisher, near, far
}

func TestStreamSumsItsSessions(t *testing.T) {
	r := newRig(t)
	publisher, _, far := r.busy(1, "live/a", 100)
	far.Terms.Cipher = telemetry.CipherCTR
	publisher.BackendID = "b2" // the players are on b1
	publisher.Begun = began.Add(-time.Hour)
	late := r.add(9, "live/a", false)
	late.State = "connecting"
	list, err := r.Streams(t.Context(), answer.StreamQuery{Limit: 10})
	if err != nil || list.Total != 1 || len(list.Streams) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	s := list.Streams[0]
	if s.Key != "live/a" || s.Sessions != 3 || s.Publishers != 1 || s.Players != 2 || !s.Encrypted || s.Backend.ID != "b2" ||
		!s.Since.Equal(publisher.Begun) || s.History != nil {
		t.Errorf("%+v", s)
	}
	if !near(s.BitrateIn, 100*1332*8) || !near(s.BitrateOut, 200*1332*8) || s.BytesIn != 133200 || s.BytesOut != 266400 ||
		s.Retransmitted != 10 || s.Dropped != 3 {
		t.Errorf("%+v", s)
	}
	if c, b := shown(s.CallerRTT), shown(s.BackendRTT); c != "200.000" || b != "10.000" {
		t.Errorf("RTT %s and %s, want that of the worst: 200 and 10", c, b)
	}
	if s.Rated != 3 || s.CallerLossy != 1 || s.BackendLossy != 0 {
		t.Errorf("of %d sessions with media %d lose some before, %d behind", s.Rated, s.CallerLossy, s.BackendLossy)
	}
	if c, b := shown(s.CallerLoss), shown(s.BackendLoss); c != "10.000" || b != "0.000" {
		t.Errorf("loss %s and %s, want 10 and 0", c, b)
	}

	d, found, err := r.Stream(t.Context(), "live/a")
	if err != nil || !found || len(d.SessionList) != 4 || d.Sessions != 3 || d.History == nil || !near(d.BitrateOut, s.BitrateOut) {
		t.Errorf("%v, %v, %+v", found, err, d)
	}
	if _, found, err := r.Stream(t.Context(), "live/b"); found || err != nil {
		t.Errorf("%v, %v", found, err)
	}
}

func TestStreamList(t *testing.T) {
	r := newRig(t)
	for i, s := range []struct {
		key     string
		packets uint64
	}{{"live/c", 100}, {"live/a", 300}, {"other/b", 200}} {
		r.busy(uint32(10*i+1), s.key, s.packets)
	}
	// Only the last was sampled with media at the end; let all of them flow.
	var all []*shard.View
	for _, v := range r.shards.views {
		flow(v, telemetry.ToBackend, uint64(v.ID.Index))
		flow(v, telemetry.ToCaller, uint64(v.ID.Index))
		all = append(all, v)
	}
	r.add(90, "live/idle", false)
	r.pass(all...)
	for _, c := range []struct {
		q     answer.StreamQuery
		keys  string
		total int
	}{
		{answer.StreamQuery{Limit: 10}, "other/b live/a live/c live/idle", 4},
		{answer.StreamQuery{Limit: 10, Sort: answer.SortBitrate}, "other/b live/a live/c live/idle", 4},
		{answer.StreamQuery{Limit: 10, Sort: answer.SortKey}, "live/a live/c live/idle other/b", 4},
		{answer.StreamQuery{Limit: 10, Sort: answer.SortSessions}, "live/a live/c other/b live/idle", 4},
		{answer.StreamQuery{Limit: 10, Sort: answer.SortRTT}, "live/a live/c other/b live/idle", 4},
		{answer.StreamQuery{Limit: 10, Sort: answer.SortLoss}, "live/a live/c other/b live/idle", 4},
		{answer.StreamQuery{Limit: 10, Sort: answer.SortSince}, "live/c live/a other/b live/idle", 4},
		{answer.StreamQuery{Limit: 2, Offset: 1, Sort: answer.SortKey}, "live/c live/idle", 4},
		{answer.StreamQuery{Limit: 2, Offset: 9, Sort: answer.SortKey}, "", 4},
		{answer.StreamQuery{Limit: 10, Match: "live", Sort: answer.SortKey}, "live/a live/c live/idle", 3},
		{answer.StreamQuery{Limit: 10, Backend: "b9"}, "", 0},
	} {
		list, err := r.Streams(t.Context(), c.q)
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, s := range list.Streams {
			keys = append(keys, s.Key)
		}
		if got := strings.Join(keys, " "); got != c.keys || list.Total != c.total || list.Streams == nil {
			t.Errorf("%+v: %q of %d, want %q of %d", c.q, got, list.Total, c.keys, c.total)
		}
	}
	list, _ := r.Streams(t.Context(), answer.StreamQuery{Limit: 1, History: 2})
	if h := list.Streams[0].History; h == nil || len(h.BitrateIn) != 2 {
		t.Errorf("history %+v", h)
	}
	// The next one gets what it asks for, not what others did.
	list, _ = r.Streams(t.Context(), answer.StreamQuery{Limit: 1})
	if h := list.Streams[0].History; h != nil {
		t.Errorf("history %+v", h)
	}
}

func TestHistory(t *testing.T) {
	r := newRig(t)
	v, _, _ := r.busy(1, "live/a", 100)
	for i := range uint64(historyLength + 30) {
		flow(v, telemetry.ToBackend, i)
		if i%10 != 0 {
			r.pass(v)
		} else {
			r.pass() // every tenth second is silent
		}
	}
	h := r.historyOf("live/a", historyLength)
	for name, list := range map[string][]*float64{
		"in": h.BitrateIn, "out": h.BitrateOut, "caller RTT": h.CallerRTT, "backend RTT": h.BackendRTT,
		"caller loss": h.CallerLoss, "backend loss": h.BackendLoss,
	} {
		if len(list) != historyLength {
			t.Errorf("%s: %d values", name, len(list))
		}
	}
	if !h.End.Equal(r.now) || h.StepSeconds != 1 {
		t.Errorf("ends %v, step %d", h.End, h.StepSeconds)
	}
	last := historyLength - 1
	if shown(h.CallerRTT[last]) != "30.000" || shown(h.BackendRTT[last]) != "10.000" || shown(h.CallerLoss[last]) != "0.000" {
		t.Errorf("last: %s, %s, %s", shown(h.CallerRTT[last]), shown(h.BackendRTT[last]), shown(h.CallerLoss[last]))
	}
	if at := last - 9; *h.BitrateIn[at] != 0 || h.CallerRTT[at] != nil || h.CallerLoss[at] != nil {
		t.Errorf("a silent second: %s, %s, %s", shown(h.BitrateIn[at]), shown(h.CallerRTT[at]), shown(h.CallerLoss[at]))
	}
	if want := float64(historyLength+30-1) * 1332 * 8; !near(*h.BitrateIn[last], want) || *h.BitrateOut[last] != 0 {
		t.Errorf("last: %v bit/s in, %v out; want %v and 0", *h.BitrateIn[last], *h.BitrateOut[last], want)
	}
	if h := r.historyOf("live/a", 5); len(h.BitrateIn) != 5 || *h.BitrateIn[4] == 0 {
		t.Errorf("5 seconds: %+v", h)
	}
	// Two silent minutes are forgotten.
	for range historyLength {
		r.pass()
	}
	if h := r.historyOf("live/a", 1); h != nil || r.historyUse().kept != 0 {
		t.Errorf("left: %+v, %+v", h, r.historyUse())
	}
}

// What goes beyond the budget has no history, and is counted; everything else
// about it is known.
func TestHistoryBudget(t *testing.T) {
	if size := historyLength * 24; historySize < size || maxHistories*historySize > historyBudget {
		t.Errorf("%d histories of %d bytes, a ring has %d", maxHistories, historySize, size)
	}
	r := newRig(t)
	r.shards.most = sliceSize
	for i := range maxHistories {
		r.streams.add(fmt.Sprint("old/", i)).history = &history{last: r.now}
		r.histories++
	}
	a := r.add(1, "live/a", true)
	r.pass(a)
	if b := r.historyUse(); b != (historyUse{maxHistories, 1}) {
		t.Errorf("%+v", b)
	}
	if d, found, err := r.Stream(t.Context(), "live/a"); !found || err != nil || d.History != nil || d.Sessions != 1 {
		t.Errorf("%v, %v, %+v", found, err, d)
	}
	r.streams.byKey["old/0"].history = nil
	r.histories--
	r.pass(a)
	if b := r.historyUse(); b != (historyUse{maxHistories, 0}) || r.historyOf("live/a", 1) == nil {
		t.Errorf("%+v", b)
	}
}

type told struct{ rtt, loss map[string]float64 }

func (o *told) ObserveRTT(side string, seconds ...float64) {
	for _, x := range seconds {
		o.rtt[side] += x
	}
}

func (o *told) ObserveLoss(side string, ratios ...float64) {
	for _, x := range ratios {
		o.loss[side] += x
	}
}

func TestObserver(t *testing.T) {
	r := newRig(t)
	o := &told{rtt: map[string]float64{}, loss: map[string]float64{}}
	r.observer = o
	v := r.add(1, "live/a", true)
	timed(v, telemetry.ToBackend, 30*time.Millisecond, 50*time.Millisecond)
	r.pass(v)
	flow(v, telemetry.ToBackend, 75)
	v.Ways[telemetry.ToBackend].LostBefore = 25
	r.pass(v)
	r.pass() // nothing flows, nothing is told
	if !near(o.rtt["caller"], 0.06) || !near(o.rtt["backend"], 0.04) || !near(o.loss["caller"], 0.25) || o.loss["backend"] != 0 {
		t.Errorf("RTT %v, loss %v", o.rtt, o.loss)
	}
}

// However many ask, the shards are asked once a second.
func TestOneWalkForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.add(1, "live/a", true)
		r.shards.takes = time.Millisecond
		ask := func() {
			if list, err := r.Streams(t.Context(), answer.StreamQuery{Limit: 1}); err != nil || list.Total != 1 {
				t.Errorf("%+v, %v", list, err)
			}
		}
		for range 3 {
			r.shards.walks = 0
			var all sync.WaitGroup
			for range 50 {
				all.Go(ask)
			}
			all.Wait()
			time.Sleep(totalsMaxAge / 2)
			ask()
			if r.shards.walks != 1 {
				t.Errorf("%d walks", r.shards.walks)
			}
			time.Sleep(totalsMaxAge)
		}
	})
}

// A caller whose context ends stops waiting, and a failure is not cached.
func TestAskingInVain(t *testing.T) {
	r := newRig(t)
	r.add(1, "live/a", true)
	<-r.all.turn // somebody is at it
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Streams(ctx, answer.StreamQuery{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	r.all.turn <- struct{}{}
	r.shards.err = shard.ErrStopped
	if _, err := r.Streams(t.Context(), answer.StreamQuery{}); !errors.Is(err, shard.ErrStopped) {
		t.Errorf("%v", err)
	}
	if _, _, err := r.Stream(t.Context(), "live/a"); !errors.Is(err, shard.ErrStopped) {
		t.Errorf("%v", err)
	}
	if _, err := r.Sessions(t.Context(), answer.SessionQuery{Limit: 1}); !errors.Is(err, shard.ErrStopped) {
		t.Errorf("%v", err)
	}
	r.shards.err = nil
	if list, err := r.Streams(t.Context(), answer.StreamQuery{Limit: 1}); err != nil || list.Total != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

// lines counts log lines.
type lines struct {
	mu sync.Mutex
	n  int
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	return len(b), nil
}

// Run samples every second, says once when it cannot, and ends.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var said lines
		r.log = slog.New(slog.NewTextHandler(&said, nil))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.Run(ctx) })
		time.Sleep(3*step + step/2)
		synctest.Wait()
		if r.shards.walks != 3 {
			t.Errorf("%d samples", r.shards.walks)
		}
		r.shards.fail(shard.ErrBusy)
		time.Sleep(3 * step)
		r.shards.fail(nil)
		time.Sleep(step)
		synctest.Wait()
		if said.n != 1 || r.shards.walks != 4 {
			t.Errorf("said %d lines, %d samples", said.n, r.shards.walks)
		}
		cancel()
		running.Wait()
	})
}

func (f *fakeShards) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}
