package limit

import (
	"sync"
	"testing"
	"time"
)

// Shards publish and read while one of them sums up.
func TestSumsRace(t *testing.T) {
	const shards, rounds = 4, 200
	sums := NewSums(shards)
	p := prefix("192.0.2.1", LevelSource)
	var all sync.WaitGroup
	var turn sync.Mutex // as the group's background functions have one
	for shard := range shards {
		all.Go(func() {
			for k := range rounds {
				var l Lister
				l.Source(p, SourceUsage{Sessions: 1})
				l.Stream("x", StreamUsage{Players: 1})
				if sums.Publish(shard, l.Report(), time.Duration(k), 1) {
					turn.Lock()
					sums.Sum()
					turn.Unlock()
				}
				if u := sums.Totals().OtherSource(shard, p); u.Sessions < 0 || u.Sessions >= shards {
					t.Errorf("%+v", u)
				}
			}
		})
	}
	all.Wait()
	sums.Sum()
	if u := sums.Totals().OtherSource(0, p); u.Sessions != shards-1 || sums.Totals().OtherPlayers(0, "x") != shards-1 {
		t.Errorf("%+v", u)
	}
}
