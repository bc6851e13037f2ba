package tokenbucket

import (
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	taken := func(b *Bucket, now time.Duration) (n int) {
		for b.Take(now) {
			n++
		}
		return n
	}
	b := New(100, 10)
	for _, c := range []struct {
		at   time.Duration
		want int
	}{
		{0, 10},
		{0, 0},
		{50 * time.Millisecond, 5},
		{55 * time.Millisecond, 0}, // half a token
		{60 * time.Millisecond, 1},
		{time.Hour, 10},
		{time.Minute, 0}, // the time goes back
		{time.Hour + 10*time.Millisecond, 1},
	} {
		if got := taken(&b, c.at); got != c.want {
			t.Errorf("at %v: %d taken, want %d", c.at, got, c.want)
		}
	}
	if new(Bucket).Take(time.Hour) {
		t.Error("the zero bucket allows something")
	}
}
