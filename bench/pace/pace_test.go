package pace

import "testing"

const ms = 1_000_000

// collect asks at every tick and returns how often each session came.
func collect(p *Plan, from, to, tick int64, sessions int) (counts []int, total int) {
	counts = make([]int, sessions)
	for now := from; now <= to; now += tick {
		for {
			s, due, ok := p.Next(now)
			if !ok {
				break
			}
			if due > now {
				panic("given out before it was due")
			}
			counts[s]++
			total++
		}
	}
	return counts, total
}

func TestCounts(t *testing.T) {
	for _, tt := range []struct {
		rate     float64
		sessions int
		seconds  int64
		want     int // within (0, seconds], and one at 0
	}{
		{60000, 100, 3, 180001},
		{250000, 1000, 2, 500001},
		{0.5, 3, 10, 6},
		{7, 2, 1, 8},
		{0, 5, 10, 0},
		{100, 0, 10, 0},
	} {
		p := New(tt.rate, tt.sessions)
		p.Start(12345)
		counts, total := collect(&p, 12345, 12345+tt.seconds*second, ms/5, max(tt.sessions, 1))
		if total < tt.want-1 || total > tt.want {
			t.Errorf("%v/s for %d s: %d, want %d", tt.rate, tt.seconds, total, tt.want)
		}
		for s, n := range counts {
			if n < total/max(tt.sessions, 1) || n > total/max(tt.sessions, 1)+1 {
				t.Errorf("%v/s over %d sessions: session %d came %d times of %d", tt.rate, tt.sessions, s, n, total)
			}
		}
	}
}

// Sessions take turns, so that no two datagrams of one stand together.
func TestInterleave(t *testing.T) {
	p := New(1000, 3)
	p.Start(0)
	for i := range 10 {
		s, due, ok := p.Next(int64(i) * ms)
		if !ok || s != i%3 || due > int64(i)*ms || due < int64(i)*ms-1 {
			t.Fatalf("datagram %d: session %d due %d %v", i, s, due, ok)
		}
		if _, _, ok := p.Next(int64(i) * ms); ok {
			t.Fatalf("a second datagram at %d ms", i)
		}
	}
}

// What was due while nobody asked is given out later, with the time when it
// was due: the plan itself never slips.
func TestNoDrift(t *testing.T) {
	p := New(3, 1) // a rate that has no exact interval
	p.Start(0)
	const day = 86400
	p.index = 3 * day
	if due := p.Due(); due < day*second-1000 || due > day*second {
		t.Errorf("after a day due %d ns off", due-day*second)
	}
	late := New(1000, 1)
	late.Start(0)
	for i := range 501 {
		if _, due, ok := late.Next(500 * ms); !ok || due > int64(i)*ms || due < int64(i)*ms-1 {
			t.Fatalf("datagram %d due %d %v", i, due, ok)
		}
	}
	if _, _, ok := late.Next(500 * ms); ok {
		t.Error("more than was due")
	}
}

func TestStopAndStartAgain(t *testing.T) {
	p := New(1000, 4)
	if _, _, ok := p.Next(second); ok || p.Running() {
		t.Error("runs before its start")
	}
	p.Start(0)
	p.Next(0)
	p.Stop()
	if _, _, ok := p.Next(second); ok {
		t.Error("runs after its stop")
	}
	p.Start(second)
	if s, due, ok := p.Next(second); s != 1 || due != second || !ok {
		t.Errorf("goes on with session %d at %d, %v", s, due, ok)
	}
}

// Everything is visited once per interval, in equal parts, whatever the tick.
func TestRound(t *testing.T) {
	for _, n := range []int{0, 1, 7, 100, 100_000} {
		for _, tick := range []int64{ms / 5, 3 * ms, 400 * ms, 7 * second} {
			r := NewRound(second, 0)
			visits := make([]int, n)
			most := 0
			for now := int64(0); now < 10*second; now += tick {
				first, last := r.Visit(now, n)
				most = max(most, last-first)
				for i := first; i < last; i++ {
					visits[i]++
				}
			}
			for i, v := range visits {
				if tick < second && (v < 9 || v > 10) {
					t.Fatalf("%d at %d ns: %d visited %d times in 10 intervals", n, tick, i, v)
				}
			}
			if tick == ms/5 && most > n/5000+2 {
				t.Errorf("%d: %d visited at once", n, most)
			}
		}
	}
}

func TestRoundOfChangingSize(t *testing.T) {
	r := NewRound(second, 0)
	r.Visit(900*ms, 1000)
	if first, last := r.Visit(950*ms, 10); first > last || last > 10 {
		t.Errorf("from %d to %d of 10", first, last)
	}
	if first, last := r.Visit(1001*ms, 2000); first > last || last > 2000 {
		t.Errorf("from %d to %d of 2000", first, last)
	}
}
