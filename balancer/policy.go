package balancer

import (
	"fmt"
	"math"

	"github.com/dchest/siphash"

	"srtrelay/backend"
)

// Policy says how the backend of a new stream is chosen.
type Policy string

const (
	// PolicyLeastSessions chooses the backend with the fewest sessions per weight.
	// Placements that ended soon count for a while. Ties go to the least bitrate, if
	// it is known, and then to the highest rank.
	PolicyLeastSessions Policy = "least-sessions"
	// PolicyHash chooses the backend with the highest rank.
	PolicyHash Policy = "hash"
	// PolicyRandom chooses at random, in proportion to the weights.
	PolicyRandom Policy = "random"
)

// choose returns one of the candidates for a new stream, and why. It returns
// backend.ErrNone if there are none.
func (m *Memory) choose(p Policy, key string, candidates []*backend.Backend) (b *backend.Backend, why string, err error) {
	if len(candidates) == 0 {
		return nil, "", backend.ErrNone
	}
	switch p {
	case PolicyHash:
		return highestRank(key, candidates), "the highest hash of stream and backend", nil
	case PolicyRandom:
		return m.drawRandom(candidates), "drawn at random", nil
	default:
		b, why = m.leastLoaded(key, candidates)
		return b, why, nil
	}
}

func highestRank(key string, all []*backend.Backend) (best *backend.Backend) {
	top := -1.0
	for _, b := range all {
		if rank := rankOf(key, b.ID, b.Share()); rank > top {
			best, top = b, rank
		}
	}
	return best
}

func (m *Memory) drawRandom(all []*backend.Backend) *backend.Backend {
	sum := 0
	for _, b := range all {
		sum += b.Share()
	}
	n := m.intN(sum)
	for _, b := range all {
		if n -= b.Share(); n < 0 {
			return b
		}
	}
	return all[len(all)-1]
}

// leastLoaded returns the backend with the fewest sessions, then the least bitrate, then
// the highest rank. The rank spreads the first streams, and lets several idle relays
// begin at different backends. It depends on a salt of the process: otherwise failing
// callers could choose keys that put all their load on one backend.
func (m *Memory) leastLoaded(key string, all []*backend.Backend) (*backend.Backend, string) {
	now := m.clock()
	sessions := func(b *backend.Backend) int { return m.load[b.ID] + m.recent.of(b.ID, now) }
	tied := keepLeast(all, func(b *backend.Backend) float64 { return float64(sessions(b)) })
	why := "the fewest sessions"
	if len(tied) > 1 && m.Bitrate != nil {
		why += ", then the least bitrate"
		tied = keepLeast(tied, func(b *backend.Backend) float64 { return m.Bitrate(b.ID) })
	}
	if len(tied) > 1 {
		why += ", then the highest hash"
	}
	best := highestRank(key+m.salt, tied)
	return best, fmt.Sprintf("%s (%d of %s, weight %d)", why, sessions(best), best.ID, best.Share())
}

// keepLeast returns the backends with the least load per weight. It overwrites all.
func keepLeast(all []*backend.Backend, load func(*backend.Backend) float64) []*backend.Backend {
	var least float64
	n := 0
	for i, b := range all {
		switch perWeight := load(b) / float64(b.Share()); {
		case i == 0 || perWeight < least:
			all[0], least, n = b, perWeight, 1
		case perWeight == least:
			all[n] = b
			n++
		}
	}
	return all[:n]
}

// The seeds of ranks are constants, because relays that share nothing but the list of
// backends must agree. The numbers are arbitrary and must not change.
const (
	rankSeed0 = 0x7372742d72656c61
	rankSeed1 = 0x79206261636b656e
)

// rankOf returns the rank of a backend for a key: the backend with the highest rank serves
// the key (rendezvous hashing). When a backend joins or leaves, only the keys move that
// it wins or had. A backend wins keys in proportion to its weight; a weight below 1
// counts as 1.
func rankOf(key string, id backend.ID, weight int) float64 {
	text := make([]byte, 0, 256)
	text = append(text, key...)
	text = append(text, 0) // "a"+"bc" is not "ab"+"c"
	text = append(text, id...)
	// A float64 holds 53 bits. The half avoids 0 and 1, whose logarithms would break
	// the division.
	uniform := (float64(siphash.Hash(rankSeed0, rankSeed1, text)>>11) + 0.5) / (1 << 53)
	return float64(max(weight, 1)) / -math.Log(uniform)
}
