package balancer

import (
	"fmt"
	"math"
	"testing"

	"srtrelay/backend"
)

func fleet(n int) []*backend.Backend {
	all := make([]*backend.Backend, n)
	for i := range all {
		all[i] = &backend.Backend{ID: name(i), Weight: 1}
	}
	return all
}

func key(i int) string { return fmt.Sprintf("__defaultVhost__/live/stream-%d", i) }

// Relays of different builds and hosts must agree, so the ranks are held to
// what they were when the first of them was built.
func TestRankIsTheSameEverywhere(t *testing.T) {
	for _, c := range []struct {
		key    string
		id     backend.ID
		weight int
		want   float64
	}{
		{"__defaultVhost__/live/livestream", "10.0.0.5:10080", 1, 0.5575995494130037},
		{"__defaultVhost__/live/livestream", "vid-abc1234-k3j9x2ab-4321", 1, 1.1889434650751385},
		{"", "", 3, 1.2111652591042883},
	} {
		if got := rankOf(c.key, c.id, c.weight); math.Abs(got/c.want-1) > 1e-12 {
			t.Errorf("%q on %q, weight %d: %v", c.key, c.id, c.weight, got)
		}
	}
	if rankOf("ab", "c", 1) == rankOf("a", "bc", 1) {
		t.Error("key and backend run into each other")
	}
}

func TestRankBalances(t *testing.T) {
	const keys = 20_000
	for _, n := range []int{2, 7, 200} {
		all, got := fleet(n), map[backend.ID]int{}
		for i := range keys {
			got[highestRank(key(i), all).ID]++
		}
		// Five standard deviations of a fair draw.
		even := float64(keys) / float64(n)
		for _, b := range all {
			if off := math.Abs(float64(got[b.ID]) - even); off > 5*math.Sqrt(even) {
				t.Errorf("%d backends: %s has %d keys, even are %.0f", n, b.ID, got[b.ID], even)
			}
		}
	}
}

func TestRankFollowsWeights(t *testing.T) {
	const keys = 100_000
	all := fleet(4)
	sum := 0
	for i := range all {
		all[i].Weight = i + 1
		sum += i + 1
	}
	got := map[backend.ID]int{}
	for i := range keys {
		got[highestRank(key(i), all).ID]++
	}
	for _, b := range all {
		fair := float64(keys*b.Weight) / float64(sum)
		if off := math.Abs(float64(got[b.ID]) - fair); off > 5*math.Sqrt(fair) {
			t.Errorf("weight %d has %d keys, fair are %.0f", b.Weight, got[b.ID], fair)
		}
	}
}

// A backend that joins takes keys and moves no others; one that leaves gives
// up its own only; a weight that grows only takes.
func TestRankMovesLittle(t *testing.T) {
	const keys = 20_000
	few, many := fleet(20), fleet(21)
	heavy := fleet(20)
	heavy[3].Weight = 3
	joined, grown := 0, 0
	for i := range keys {
		before := highestRank(key(i), few).ID
		if after := highestRank(key(i), many).ID; after != before {
			if joined++; after != name(20) {
				t.Fatalf("%s moved from %s to %s when %s joined", key(i), before, after, name(20))
			}
		}
		if after := highestRank(key(i), heavy).ID; after != before {
			if grown++; after != name(3) {
				t.Fatalf("%s moved from %s to %s when %s grew", key(i), before, after, name(3))
			}
		}
	}
	if joined < keys/21*8/10 || joined > keys/21*12/10 {
		t.Errorf("%d of %d keys moved to one new backend of 21", joined, keys)
	}
	if grown < keys*2/22*6/10 || grown > keys*2/22*14/10 {
		t.Errorf("%d of %d keys moved to one of 20 that trebled", grown, keys)
	}
	// Leaving is joining backwards; the order of the list must not matter.
	for i := range 1000 {
		mixed := fleet(21)
		mixed[0], mixed[13] = mixed[13], mixed[0]
		if a, b := highestRank(key(i), many).ID, highestRank(key(i), mixed).ID; a != b {
			t.Fatalf("%s is at %s or %s, by the order of the list", key(i), a, b)
		}
	}
}
