package handshake

import (
	"strings"
	"testing"
	"time"
)

// sharing is a generator of a relay whose wall clock is off by skew.
func sharing(own byte, live *SharedSecrets, skew time.Duration) *CookieGenerator {
	g := NewCookieGenerator(Secret{own})
	g.Follow(live)
	g.wall.read = func() time.Time { return wallStart.Add(skew) }
	return g
}

// wallStart is the middle of an epoch.
var wallStart = time.Unix(1_800_000_030, 0)

func shared(all ...Secret) *SharedSecrets {
	s := new(SharedSecrets)
	s.Publish(all)
	return s
}

// A cookie of one relay is good at another whose clock differs by tens of seconds, and whose
// process has run for another time.
func TestSharedCookies(t *testing.T) {
	for _, c := range []struct {
		skew time.Duration
		good bool
	}{
		{0, true},
		{25 * time.Second, true},
		{-25 * time.Second, true},
		{45 * time.Second, true},
		{-45 * time.Second, true},
		{CookieEpoch, true},
		{-CookieEpoch, true},
		{2*CookieEpoch + 30*time.Second, false},
		{-2*CookieEpoch - 30*time.Second, false},
	} {
		a, b := sharing(1, shared(Secret{7}), 0), sharing(2, shared(Secret{7}), c.skew)
		cookie := a.Generate(3*time.Hour, someone)
		if got := b.Check(time.Second, someone, cookie); got != c.good {
			t.Errorf("skew %v: accepted %v", c.skew, got)
		}
		if b.Check(time.Second, at("192.0.2.1:9001"), cookie) {
			t.Errorf("skew %v: accepted from another port", c.skew)
		}
	}
}

// A secret is changed on one relay after the other, and no cookie is refused.
func TestRotationRefusesNobody(t *testing.T) {
	before, after := Secret{7}, Secret{8}
	steps := [][]Secret{{before}, {before, after}, {after, before}, {after}}
	for i := range steps {
		for _, k := range []int{i - 1, i, i + 1} { // the other relay is a step behind, or ahead
			if k < 0 || k >= len(steps) {
				continue
			}
			a, b := sharing(1, shared(steps[i]...), 0), sharing(2, shared(steps[k]...), 0)
			if !b.Check(0, someone, a.Generate(0, someone)) {
				t.Errorf("a cookie of step %d is refused in step %d", i, k)
			}
		}
	}
}

// Secrets that come, change and go take effect at once, and cookies of the generator's own
// secret stay valid.
func TestSecretsChangeInPlace(t *testing.T) {
	live := new(SharedSecrets)
	a, b := sharing(1, live, 0), sharing(2, live, 0)
	own := a.Generate(0, someone)
	if b.Check(0, someone, own) {
		t.Error("relays without a shared secret accept each other's cookies")
	}
	live.Publish([]Secret{{7}})
	cookie := a.Generate(time.Second, someone)
	if !b.Check(time.Second, someone, cookie) || !a.Check(time.Second, someone, own) {
		t.Error("refused once there is a shared secret")
	}
	live.Publish(nil)
	if b.Check(2*time.Second, someone, cookie) {
		t.Error("a secret that is gone counts still")
	}
	if !a.Check(2*time.Second, someone, a.Generate(2*time.Second, someone)) {
		t.Error("its own cookie is refused")
	}
}

// A jump of the wall clock is followed within a second.
func TestWallClockJumps(t *testing.T) {
	live := shared(Secret{7})
	here, there := sharing(1, live, 0), sharing(2, live, 0)
	ahead := wallStart
	here.wall.read = func() time.Time { return ahead }
	_ = here.Generate(0, someone)
	ahead = ahead.Add(time.Hour)
	there.wall.read = func() time.Time { return ahead }
	if !here.Check(wallEvery, someone, there.Generate(wallEvery, someone)) {
		t.Error("refused after the clock was set")
	}
}

func TestSharedCookiesDoNotAllocate(t *testing.T) {
	g := sharing(1, shared(Secret{7}, Secret{8}), 0)
	c := g.Generate(0, someone)
	good := true
	n := testing.AllocsPerRun(100, func() {
		good = good && g.Generate(time.Second, someone) == c && g.Check(2*time.Second, someone, c)
	})
	if n != 0 || !good {
		t.Errorf("%v allocations, good %v", n, good)
	}
}

func TestParseSecrets(t *testing.T) {
	long := strings.Repeat("a", minSecretText)
	for _, c := range []struct {
		text string
		n    int // 0: an error
	}{
		{long, 1},
		{"# first\n\n  " + long + "  \r\n" + long + "b\n", 2},
		{"", 0},
		{"# nothing\n", 0},
		{long[1:], 0},
		{strings.Repeat("a", maxSecretText), 1},
		{strings.Repeat("a", maxSecretText+1), 0},
		{long + "\n" + long, 0},
		{long + "1\n" + long + "2\n" + long + "3\n" + long + "4\n", 4},
		{long + "1\n" + long + "2\n" + long + "3\n" + long + "4\n" + long + "5\n", 0},
	} {
		all, err := ParseSecrets(c.text)
		if len(all) != c.n || (err == nil) != (c.n > 0) {
			t.Errorf("%.40q: %d secrets, %v", c.text, len(all), err)
		}
		if err != nil && strings.Contains(err.Error(), long[2:]) {
			t.Errorf("the error quotes a secret: %v", err)
		}
	}
	a, _ := ParseSecrets(long)
	b, _ := ParseSecrets("  " + long + "\n\n")
	if a[0] != b[0] {
		t.Error("space around a secret counts")
	}
}

// Whatever a file has: what is read are a few different secrets, and an error quotes none of it.
func FuzzParseSecrets(f *testing.F) {
	long := strings.Repeat("0123456789abcdef", 2)
	f.Add("# comment\n" + long + "\n\n" + long + "x\r\n")
	f.Add(long + "\n" + long)
	f.Add("short")
	f.Add(strings.Repeat("y", maxSecretText+1))
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseSecrets(text)
		if err != nil {
			for line := range strings.Lines(text) {
				if line = strings.TrimSpace(line); len(line) >= 16 && strings.Contains(err.Error(), line) {
					t.Errorf("the error quotes the file: %v", err)
				}
			}
			if all != nil {
				t.Errorf("%d secrets beside an error", len(all))
			}
			return
		}
		seen := make(map[Secret]bool)
		for _, s := range all {
			seen[s] = true
		}
		if len(all) == 0 || len(all) > MaxSharedSecrets || len(seen) != len(all) {
			t.Errorf("%d secrets, %d different ones", len(all), len(seen))
		}
	})
}
