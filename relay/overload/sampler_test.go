package overload

import (
	"math"
	"testing"
	"time"
)

func TestSampler(t *testing.T) {
	const never = -1
	caps := Caps{Sessions: 100, HalfOpen: 10}
	busy := func(part float64) func(i int) ShardSample {
		return func(i int) ShardSample {
			return ShardSample{Working: time.Duration(part * float64(i) * float64(Every))}
		}
	}
	for name, c := range map[string]struct {
		shards []func(i int) ShardSample // the i-th sample of each shard
		input  Input
		want   float64
	}{
		"sessions": {[]func(int) ShardSample{
			func(int) ShardSample { return ShardSample{Sessions: 90} },
			func(int) ShardSample { return ShardSample{Sessions: 70} },
		}, InputSessions, 0.8},
		"handshakes": {[]func(int) ShardSample{func(int) ShardSample { return ShardSample{HalfOpen: 9} }}, InputHandshakes, 0.9},
		"no drops": {[]func(int) ShardSample{
			func(i int) ShardSample { return ShardSample{Received: uint64(i) * 1000} },
		}, InputDrops, 0},
		"one in a hundred dropped": {[]func(int) ShardSample{
			func(i int) ShardSample {
				return ShardSample{Received: uint64(i) * 990, Dropped: uint64(i) * 10, Forwarded: uint64(i) * 990}
			},
		}, InputDrops, 0.2},
		"the worst shard counts": {[]func(int) ShardSample{
			func(i int) ShardSample { return ShardSample{Received: uint64(i) * 100_000} },
			func(i int) ShardSample {
				return ShardSample{Received: uint64(i) * 960, Dropped: uint64(i) * 40, Forwarded: uint64(i) * 900}
			},
		}, InputDrops, 0.8},
		"the kernel's count is read once per second": {[]func(int) ShardSample{
			func(i int) ShardSample {
				return ShardSample{Received: uint64(i) * 990, Dropped: uint64(i/4) * 40, Forwarded: uint64(i) * 990}
			},
		}, InputDrops, 0.2},
		"half of a handful": {[]func(int) ShardSample{
			func(i int) ShardSample { return ShardSample{Received: uint64(i), Dropped: uint64(i)} },
		}, InputDrops, 0.18},
		"counters begin anew": {[]func(int) ShardSample{
			func(i int) ShardSample { return ShardSample{Received: uint64(1000 - i), Dropped: uint64(1000 - i)} },
		}, InputDrops, 0},
		"a flood fills a buffer": {[]func(int) ShardSample{
			func(i int) ShardSample {
				return ShardSample{Received: uint64(i) * 100_000, Dropped: uint64(i) * 100_000, Forwarded: uint64(i) * 20_000}
			},
		}, InputDrops, floodMost},
		"sessions fill a buffer": {[]func(int) ShardSample{
			func(i int) ShardSample {
				return ShardSample{Received: uint64(i) * 100_000, Dropped: uint64(i) * 100_000, Forwarded: uint64(i) * 90_000}
			},
		}, InputDrops, 10},
		"a flood keeps a loop busy": {[]func(int) ShardSample{
			func(i int) ShardSample {
				return ShardSample{Received: uint64(i) * 100_000, Forwarded: uint64(i) * 20_000, Working: time.Duration(i) * Every}
			},
		}, InputTurns, floodMost},
		"sessions keep a loop busy": {[]func(int) ShardSample{
			func(i int) ShardSample {
				return ShardSample{Received: uint64(i) * 100_000, Forwarded: uint64(i) * 90_000, Working: time.Duration(i) * Every}
			},
		}, InputTurns, 1},
		"idle loops":                 {[]func(int) ShardSample{busy(0), busy(0.01)}, InputTurns, 0},
		"half of the time":           {[]func(int) ShardSample{busy(0.5)}, InputTurns, 0},
		"one loop is busy":           {[]func(int) ShardSample{busy(0.1), busy(0.95), busy(0.2)}, InputTurns, 0.9},
		"a loop hangs":               {[]func(int) ShardSample{busy(0), busy(1)}, InputTurns, 1},
		"more than there is":         {[]func(int) ShardSample{busy(7)}, InputTurns, 1},
		"the loops' clock goes back": {[]func(int) ShardSample{busy(-1)}, InputTurns, 0},
		"no shards: no sessions":     {nil, InputSessions, never},
	} {
		t.Run(name, func(t *testing.T) {
			var s Sampler
			var r Readings
			shards := make([]ShardSample, len(c.shards))
			for i := range 20 {
				for k, of := range c.shards {
					shards[k] = of(i)
				}
				r = Readings{}
				s.Sample(time.Duration(i)*Every, shards, caps, &r)
				if i == 0 && (r[InputDrops].Known || r[InputTurns].Known) {
					t.Error("a rate is known after one sample")
				}
			}
			got := r[c.input]
			if got.Known != (c.want != never) {
				t.Fatalf("%+v", got)
			}
			if got.Known && math.Abs(got.Pressure-c.want) > 0.03*max(c.want, 1) {
				t.Errorf("%+v, want %v", got, c.want)
			}
			if got.Detail == "" {
				t.Error("no detail")
			}
		})
	}
}

// A flood ends between two looks at the kernel's count: what is read then is not of the
// silence that has followed.
func TestFloodEnds(t *testing.T) {
	var s Sampler
	var r Readings
	var one ShardSample
	for i := range 60 {
		if i < 30 {
			one.Received += 50_000
		}
		if i < 34 && i%4 == 2 { // once per second, the last time after the end
			one.Dropped += 200_000
		}
		s.Sample(time.Duration(i)*Every, []ShardSample{one}, Caps{1, 1}, &r)
		if r[InputDrops].Pressure > floodMost {
			t.Fatalf("sample %d: %+v", i, r[InputDrops])
		}
	}
	if got := r[InputDrops]; got.Pressure != 0 {
		t.Errorf("in the end %+v", got)
	}
}

// Two samples at one time say nothing about rates, and break nothing.
func TestSamplerAtOneTime(t *testing.T) {
	var s Sampler
	var r Readings
	for range 3 {
		s.Sample(time.Second, []ShardSample{{Received: 5, Working: time.Second}}, Caps{1, 1}, &r)
		if r[InputTurns].Known || r[InputDrops].Known {
			t.Fatalf("%+v", r)
		}
	}
}
