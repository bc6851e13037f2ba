package srttest

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestWindowAcrossTheWrap(t *testing.T) {
	t.Parallel()
	var w window
	w.start(sequenceMask - 1)
	for _, step := range []struct {
		seq  uint32
		want arrival
		gap  int
	}{
		{sequenceMask - 2, stale, 0},
		{sequenceMask - 1, inOrder, 0},
		{1, afterGap, 2},
		{0, late, 0},
		{sequenceMask, late, 0},
		{0, duplicate, 0},
		{2, inOrder, 0},
		{3 + windowSize, afterGap, windowSize},
		{2, stale, 0},
		{3, stale, 0},
		{4, late, 0},
		{4, duplicate, 0},
	} {
		if a, gap := w.add(step.seq); a != step.want || gap != step.gap {
			t.Errorf("%d: %v, gap %d; want %v, %d", step.seq, a, gap, step.want, step.gap)
		}
	}
}

func TestWindowCountsEveryPacketOnce(t *testing.T) {
	t.Parallel()
	const n = 10_000
	rng := rand.New(rand.NewPCG(1, 2))
	var e endpoint
	e.establish(1, 100)
	lost := 0
	for i := 0; i < n; i += 10 {
		for _, j := range rng.Perm(10) {
			if rng.Float64() < 0.2 && i > 0 && i < n-10 {
				lost++
				continue
			}
			p := make([]byte, 16)
			p[2], p[3], p[7] = byte((100+i+j)>>8), byte(100+i+j), 1
			e.book(p)
		}
	}
	if c := e.counters; int(c.Received) != n-lost || int(c.Lost) != lost || c.Duplicated+c.Stale != 0 {
		t.Errorf("lost %d: %+v", lost, c)
	}
}

func TestSchedulerKeepsTimeAndOrder(t *testing.T) {
	t.Parallel()
	a := newScheduler()
	got := make(chan int, 4)
	a.after(300*time.Millisecond, func() { got <- 3 })
	a.after(0, func() { got <- 1 })
	a.after(5*time.Millisecond, func() { got <- 2; a.after(0, func() { got <- 20 }) })
	for _, want := range []int{1, 2, 20, 3} {
		if v := <-got; v != want {
			t.Errorf("%d instead of %d", v, want)
		}
	}
	a.after(time.Hour, func() { t.Error("ran after close") })
	a.close()
	if a.after(0, func() {}) {
		t.Error("accepted a job after close")
	}
}
