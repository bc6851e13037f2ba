package relay

import (
	"slices"
	"testing"

	"srtrelay/shard"
)

func TestSessionCounts(t *testing.T) {
	stats := make([]shard.Stats, 3)
	stats[0].Values[shard.CountSessions], stats[2].Values[shard.CountSessions] = 25_000, 7
	for text, want := range map[string][]int{
		sessionCounts(stats): {25_000, 0, 7},
		"":                   {0},
		"1,x,-3,4":           {1, 0, 0, 4},
	} {
		if got := readSessionCounts(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
