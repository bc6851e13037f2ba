package handshake

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/dchest/siphash"

	"srtrelay/addr"
)

// CookieEpoch is how long one key is used for new cookies. Cookies of the key
// before it are still accepted, so that a cookie is valid for one to two epochs,
// as with libsrt.
const CookieEpoch = time.Minute

// Secret is what the keys of all cookies derive from. The shards share it, so
// that the cookie of a caller whose flow moves to another shard stays valid.
type Secret [32]byte

// CookieGenerator makes and checks SYN cookies without state per caller: a keyed
// hash of the caller's address, under a key that changes every CookieEpoch. Each
// shard owns one.
type CookieGenerator struct {
	secret   Secret
	shift    time.Duration // what the epochs of an earlier process are ahead
	epoch    int64
	current  cookieKey
	previous cookieKey
}

type cookieKey struct{ k0, k1 uint64 }

// NewCookieGenerator returns a generator at time 0.
func NewCookieGenerator(s Secret) *CookieGenerator {
	g := &CookieGenerator{secret: s}
	g.current, g.previous = g.derive(0), g.derive(-1)
	return g
}

// Generate returns the caller's cookie. It is never 0, the value in an INDUCTION.
func (g *CookieGenerator) Generate(now time.Duration, caller addr.AddrPort) uint32 {
	g.rotate(now)
	return g.current.cookie(caller)
}

// Check reports whether cookie was generated for caller in this epoch or the last.
func (g *CookieGenerator) Check(now time.Duration, caller addr.AddrPort, cookie uint32) bool {
	g.rotate(now)
	return cookie == g.current.cookie(caller) || cookie == g.previous.cookie(caller)
}

func (g *CookieGenerator) rotate(now time.Duration) {
	epoch := int64((now + g.shift) / CookieEpoch)
	if epoch == g.epoch {
		return
	}
	g.epoch = epoch
	g.current, g.previous = g.derive(epoch), g.derive(epoch-1)
}

// derive returns the key of an epoch. A hash makes it, so that a leaked key
// reveals neither the secret nor the keys of other epochs.
func (g *CookieGenerator) derive(epoch int64) cookieKey {
	var in [len(g.secret) + 8]byte
	copy(in[:], g.secret[:])
	binary.BigEndian.PutUint64(in[len(g.secret):], uint64(epoch))
	sum := sha256.Sum256(in[:])
	return cookieKey{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])}
}

func (k cookieKey) cookie(a addr.AddrPort) uint32 {
	var in [22]byte
	copy(in[:], a.IP[:])
	binary.BigEndian.PutUint32(in[16:], a.Zone)
	binary.BigEndian.PutUint16(in[20:], a.Port)
	c := uint32(siphash.Hash(k.k0, k.k1, in[:]))
	return max(c, 1)
}
