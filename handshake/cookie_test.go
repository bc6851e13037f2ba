package handshake

import (
	"net/netip"
	"testing"
	"time"

	"srtrelay/addr"
)

func at(s string) addr.AddrPort { return addr.From(netip.MustParseAddrPort(s)) }

var someone = at("192.0.2.1:9000")

func TestCookieLife(t *testing.T) {
	for _, made := range []time.Duration{0, time.Second, CookieEpoch - 1, CookieEpoch, 90 * time.Minute} {
		start := made / CookieEpoch * CookieEpoch
		for _, tt := range []struct {
			at   time.Duration
			want bool
		}{
			{made, true},
			{start + CookieEpoch - 1, true},
			{start + CookieEpoch, true},
			{start + 2*CookieEpoch - 1, true},
			{start + 2*CookieEpoch, false},
			{start + 1000*CookieEpoch, false},
		} {
			g := NewCookieGenerator(Secret{1})
			c := g.Generate(made, someone)
			if c2 := g.Generate(start+CookieEpoch-1, someone); c2 != c {
				t.Errorf("two cookies within the epoch of %v", made)
			}
			if got := g.Check(tt.at, someone, c); got != tt.want {
				t.Errorf("made at %v, checked at %v: %v", made, tt.at, got)
			}
			// A cookies that slept meanwhile, as another shard's may, agrees.
			if got := NewCookieGenerator(Secret{1}).Check(tt.at, someone, c); got != tt.want {
				t.Errorf("made at %v, checked elsewhere at %v: %v", made, tt.at, got)
			}
		}
	}
}

func TestCookieIsTheCallersOwn(t *testing.T) {
	g := NewCookieGenerator(Secret{1})
	c := g.Generate(0, someone)
	for _, other := range []string{"192.0.2.1:9001", "192.0.2.2:9000", "[2001:db8::1]:9000", "[::192.0.2.1]:9000"} {
		if g.Check(0, at(other), c) {
			t.Errorf("%s may use the cookie of %v", other, someone)
		}
	}
	if g.Check(0, at("[fe80::1%2]:1"), g.Generate(0, at("[fe80::1%3]:1"))) {
		t.Error("the zone does not count")
	}
	if !g.Check(0, at("[::ffff:192.0.2.1]:9000"), c) {
		t.Error("refused on a dual-stack socket")
	}
	for _, wrong := range []uint32{0, c + 1, ^c} {
		if g.Check(0, someone, wrong) {
			t.Errorf("%#x accepted for %#x", wrong, c)
		}
	}
	if NewCookieGenerator(Secret{2}).Generate(0, someone) == c {
		t.Error("another secret, the same cookie")
	}
	if next := g.Generate(CookieEpoch, someone); next == c {
		t.Error("another epoch, the same cookie")
	}
}

// 0 stands for "no cookie yet" in an INDUCTION. This caller's hash is 0 in
// epoch 0 of this secret; it was found by trying billions.
func TestCookieIsNeverZero(t *testing.T) {
	unlucky := someone
	unlucky.Zone, unlucky.Port = 36514, 42514
	g := NewCookieGenerator(Secret{3})
	c := g.Generate(0, unlucky)
	if c == 0 || !g.Check(0, unlucky, c) || g.Check(0, unlucky, 0) {
		t.Errorf("cookie %d", c)
	}
}

func TestCookiesDoNotAllocate(t *testing.T) {
	g := NewCookieGenerator(Secret{1})
	c := g.Generate(0, someone)
	good := true
	n := testing.AllocsPerRun(100, func() {
		good = good && g.Generate(time.Second, someone) == c && g.Check(2*time.Second, someone, c)
	})
	if n != 0 || !good {
		t.Errorf("%v allocations, good %v", n, good)
	}
}

func TestLimiterSpacesOneSource(t *testing.T) {
	l := NewLimiter(time.Second, 100)
	for _, tt := range []struct {
		at   time.Duration
		want bool
	}{
		{0, true},
		{0, false},
		{time.Second - 1, false},
		{time.Second, true}, // what was refused does not push it further
		{time.Second + 1, false},
		{10 * time.Second, true},
	} {
		if got := l.Allow(tt.at, 42); got != tt.want {
			t.Errorf("at %v: %v", tt.at, got)
		}
		if tt.want && !l.Allow(tt.at, 43) {
			t.Errorf("at %v: a source pays for another", tt.at)
		}
	}
	if l.Allow(10*time.Second, 42+limiterSlots) {
		t.Error("a source of the same slot has an allowance of its own: the table is not fixed")
	}
}

func TestLimiterCapsAll(t *testing.T) {
	const rate = 50
	l := NewLimiter(time.Millisecond, rate)
	source := uint64(0)
	burst := func(now time.Duration) (n int) {
		for range 10 * rate {
			source++
			if l.Allow(now, source) {
				n++
			}
		}
		return n
	}
	// Times at which a float holds the sum exactly.
	for _, tt := range []struct {
		at   time.Duration
		want int
	}{
		{0, rate},
		{0, 0},
		{500 * time.Millisecond, rate / 2},
		{time.Second, rate / 2},
		{time.Hour, rate}, // a long rest saves up no more than a second's worth
	} {
		if got := burst(tt.at); got != tt.want {
			t.Errorf("at %v: %d answers, want %d", tt.at, got, tt.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { source++; l.Allow(2*time.Hour, source) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
