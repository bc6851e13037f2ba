package balancer

import (
	"fmt"
	"math"

	"github.com/dchest/siphash"

	"srtrelay/backend"
)

// Policy says which backend a new stream gets.
type Policy string

const (
	// PolicyLeastSessions takes the backend with the fewest sessions for its
	// weight, those that were over soon among them for a while, then with the
	// least bitrate if that is known, then by Rank.
	PolicyLeastSessions Policy = "least-sessions"
	// Hash takes the backend of the highest Rank.
	PolicyHash Policy = "hash"
	// Random draws one, in proportion to the weights.
	PolicyRandom Policy = "random"
)

// choose returns the backend for a new stream out of those that may have it,
// and why. ErrNone if there is none.
func (m *Memory) choose(p Policy, key string, all []*backend.Backend) (b *backend.Backend, why string, err error) {
	if len(all) == 0 {
		return nil, "", backend.ErrNone
	}
	switch p {
	case PolicyHash:
		return highest(key, all), "the highest hash of stream and backend", nil
	case PolicyRandom:
		return m.draw(all), "drawn by lot", nil
	default:
		b, why = m.least(key, all)
		return b, why, nil
	}
}

func weightOf(b *backend.Backend) int { return max(b.Weight, 1) }

func highest(key string, all []*backend.Backend) (best *backend.Backend) {
	top := -1.0
	for _, b := range all {
		if rank := Rank(key, b.ID, weightOf(b)); rank > top {
			best, top = b, rank
		}
	}
	return best
}

func (m *Memory) draw(all []*backend.Backend) *backend.Backend {
	sum := 0
	for _, b := range all {
		sum += weightOf(b)
	}
	n := m.intN(sum)
	for _, b := range all {
		if n -= weightOf(b); n < 0 {
			return b
		}
	}
	return all[len(all)-1]
}

// least keeps the backends that nobody undercuts, by sessions and then by
// bitrate, and lets Rank decide among them: streams spread from the first
// one on, and several idle relays do not all begin at the same backend. The
// rank is this process's own: with keys that are known to rank one backend
// highest, callers that a hook denies could weigh on that one alone.
func (m *Memory) least(key string, all []*backend.Backend) (*backend.Backend, string) {
	now := m.clock()
	sessions := func(b *backend.Backend) int { return m.load[b.ID] + m.recent.of(b.ID, now) }
	equals := lowest(all, func(b *backend.Backend) float64 { return float64(sessions(b)) })
	why := "the fewest sessions"
	if len(equals) > 1 && m.Bitrate != nil {
		why += ", then the least bitrate"
		equals = lowest(equals, func(b *backend.Backend) float64 { return m.Bitrate(b.ID) })
	}
	if len(equals) > 1 {
		why += ", then the highest hash"
	}
	best := highest(key+m.salt, equals)
	return best, fmt.Sprintf("%s (%d of %s, weight %d)", why, sessions(best), best.ID, weightOf(best))
}

// lowest returns the backends with the least of what is counted per weight,
// in the place of all.
func lowest(all []*backend.Backend, count func(*backend.Backend) float64) []*backend.Backend {
	var bottom float64
	n := 0
	for i, b := range all {
		switch share := count(b) / float64(weightOf(b)); {
		case i == 0 || share < bottom:
			all[0], bottom, n = b, share, 1
		case share == bottom:
			all[n] = b
			n++
		}
	}
	return all[:n]
}

// The hash has no seed of the process: relays that share nothing but the list
// of backends must agree. The numbers are arbitrary, and fixed for ever.
const (
	rankSeed0 = 0x7372742d72656c61
	rankSeed1 = 0x79206261636b656e
)

// Rank is the rank of a backend for a key: the highest one serves it
// (rendezvous hashing). When a backend joins or leaves, only the keys move
// that it wins or held. Each backend wins keys in proportion to its weight;
// one below 1 counts as 1.
func Rank(key string, id backend.ID, weight int) float64 {
	text := make([]byte, 0, 256)
	text = append(text, key...)
	text = append(text, 0) // "a"+"bc" is not "ab"+"c"
	text = append(text, id...)
	// 53 bits are what a float64 holds; the half keeps off 0 and 1, whose
	// logarithms would break the division.
	even := (float64(siphash.Hash(rankSeed0, rankSeed1, text)>>11) + 0.5) / (1 << 53)
	return float64(max(weight, 1)) / -math.Log(even)
}
