package web

import (
	"math/rand/v2"
	"testing"
	"time"

	"srtrelay/api/answer"
)

// The bug: rates were computed from when answers came to the browser, and a steady
// 53 Mbit/s was shown as 31 to 227. Requests and answers are delayed at random here;
// every figure of the header is within 5 % of what the counters grew by.
func TestHeaderFollowsTheRelaysClock(t *testing.T) {
	t.Parallel()
	const bytesPerSecond, packetsPerSecond = 53e6 / 8, 5000.0
	r := startRelay(t, 3)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	late := make(chan time.Duration)
	go func() { // one source of chance for all requests
		random := rand.New(rand.NewPCG(seed, 1))
		for {
			select {
			case late <- time.Duration(random.IntN(451)) * time.Millisecond:
			case <-t.Context().Done():
				return
			}
		}
	}()
	r.delay = func() {
		select {
		case d := <-late:
			time.Sleep(d)
		case <-t.Context().Done():
		}
	}
	began, answered := time.Now(), make(chan bool, 1)
	r.counters = func() answer.ShardList {
		now := time.Now()
		grown := now.Sub(began).Seconds()
		n := answer.Numbers{Packets: uint64(packetsPerSecond * grown), Bytes: uint64(bytesPerSecond * grown), Drops: map[string]uint64{}, SendDrops: map[string]uint64{}, Counters: map[string]uint64{}}
		select {
		case answered <- true:
		default:
		}
		return answer.ShardList{Shards: []answer.Shard{{Numbers: n}}, Total: n, TakenAt: now}
	}
	p := overview(t, r)
	p.await(`!document.querySelector("#total-bitrate").textContent.startsWith("–")`)
	read[int](p, `window.figures = new Set(); (function look() {
		figures.add(JSON.stringify(["#total-bitrate", "#total-packets", ".shard .load"].map(q => parseFloat(document.querySelector(q).textContent))));
		requestAnimationFrame(look);
	})(); 1`)
	for range 10 { // answers, of which one comes each second or later
		select {
		case <-answered:
		case <-time.After(patience):
			t.Fatal("the page asks no more")
		}
	}
	for _, got := range read[[][3]float64](p, "[...figures].map(JSON.parse)") {
		for i, want := range []float64{bytesPerSecond * 8 / 1e6, packetsPerSecond / 1000, packetsPerSecond / 1000} {
			if got[i] < want*0.95 || got[i] > want*1.05 {
				t.Errorf("shows %v, the counters grow by %.4g", got, want)
			}
		}
	}
	p.clean()
}

// What rates are made of: answers too close together, late, or of a relay that was
// restarted.
func TestPace(t *testing.T) {
	p := overview(t, startRelay(t, 1))
	got := readLater[[]*float64](p, `import("/ui/pace.js").then(m => {
		const pace = new m.Pace(), at = s => new Date(1e12 + s * 1000).toISOString();
		return [[0, 100], [1, 300], [1.1, 900], [2, 500], [1.9, 600], [2.9, 700], [3.9, 10], [4.9, 20], [60, 30]].map(([s, n]) => {
			pace.update([["n", n]], at(s));
			return pace.of("n") ?? null;
		});
	})`)
	one := func(v float64) *float64 { return &v }
	for i, want := range []*float64{nil, one(200), one(200), one(200), nil, one(100), nil, one(10), nil} {
		if (got[i] == nil) != (want == nil) || want != nil && *got[i] != *want {
			t.Errorf("answer %d: %v, want %v", i, got[i], want)
		}
	}
}
