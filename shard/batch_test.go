package shard

import (
	"testing"
	"time"
)

func TestGatherer(t *testing.T) {
	const most = 100 * time.Microsecond
	for _, c := range []struct {
		what   string
		rate   float64 // datagrams per second
		every  time.Duration
		most   time.Duration
		shares float64 // of most, that is waited; 0 for not at all
		worth  bool
	}{
		{"off", 1e6, most, 0, 0, false},
		{"idle", 0, time.Second, most, 0, false},
		{"one stream", 600, time.Millisecond, most, 0, false},
		{"thirty streams", 18_000, time.Millisecond, most, 0, false},
		{"a hundred streams", 60_000, most, most, 1, true},
		{"a batch per wait", 320_000, most, most, 1, true},
		{"two batches per wait", 640_000, most, most, 0.5, true},
		{"more than a batch per shortest wait", 6.4e6, most, most, 0, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			g := gatherer{maxWait: c.most, target: 32}
			now, received := time.Hour, 0.0
			for range 50 {
				now += c.every
				received += c.rate * c.every.Seconds()
				g.begin(now, uint64(received))
			}
			d, worth := g.wait(now)
			want := time.Duration(float64(c.most) * c.shares)
			if worth != c.worth || d < want*9/10 || d > want*11/10 {
				t.Errorf("waits %v, worth %v; want %v, %v", d, worth, want, c.worth)
			}
		})
	}
}

// What the turn itself took is part of the wait.
func TestGathererCountsTheTurn(t *testing.T) {
	const most = 100 * time.Microsecond
	g := gatherer{maxWait: most, target: 32, expected: 10, turn: time.Second}
	for took, want := range map[time.Duration]time.Duration{
		0: most, 40 * time.Microsecond: 60 * time.Microsecond, 95 * time.Microsecond: 0, time.Millisecond: 0,
	} {
		if d, worth := g.wait(time.Second + took); d != want || !worth {
			t.Errorf("after a turn of %v waits %v, worth %v; want %v", took, d, worth, want)
		}
	}
}

// After a flood the loop sleeps in the poller again as soon as it is over.
func TestGathererForgetsAFlood(t *testing.T) {
	g := gatherer{maxWait: 100 * time.Microsecond, target: 32, expected: 1000, turn: time.Second}
	now := 2 * time.Second
	g.begin(now, 1)
	if _, worth := g.wait(now); worth {
		t.Fatalf("still expects %v datagrams", g.expected)
	}
}
