package balancer

import (
	"math"

	"github.com/dchest/siphash"

	"srtrelay/backend"
)

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
