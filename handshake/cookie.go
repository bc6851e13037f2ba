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
//
// Its own secret is of one relay, and its epochs count from the relay's start. If
// there are secrets that relays share (SharedSecrets), the first of them makes the
// cookies, and the epochs of all of them are those of the wall clock.
type CookieGenerator struct {
	own   cookieKeys
	shift time.Duration // what the epochs of an earlier process are ahead

	source *SharedSecrets
	seen   *[]Secret // of source, what shared derives from
	shared []cookieKeys
	wall   wallClock
}

// cookieKeys are the keys that derive from one secret.
type cookieKeys struct {
	secret                  Secret
	epoch                   int64
	previous, current, next cookieKey
}

type cookieKey struct{ k0, k1 uint64 }

// NewCookieGenerator returns a generator at time 0.
func NewCookieGenerator(s Secret) *CookieGenerator {
	return &CookieGenerator{own: newCookieKeys(s, 0), wall: wallClock{read: time.Now}}
}

// Follow has the generator use the secrets that relays share, as soon as there are any.
// Cookies of its own secret stay valid.
func (g *CookieGenerator) Follow(s *SharedSecrets) { g.source = s }

// Generate returns the caller's cookie. It is never 0, the value in an INDUCTION.
func (g *CookieGenerator) Generate(now time.Duration, caller addr.AddrPort) uint32 {
	g.rotate(now)
	if len(g.shared) > 0 {
		return g.shared[0].current.cookie(caller)
	}
	return g.own.current.cookie(caller)
}

// Check reports whether cookie was generated for caller in this epoch or the last. Another
// relay's clock may be ahead: so a cookie of a shared secret may be of the next epoch too.
func (g *CookieGenerator) Check(now time.Duration, caller addr.AddrPort, cookie uint32) bool {
	g.rotate(now)
	for i := range g.shared {
		k := &g.shared[i]
		if cookie == k.current.cookie(caller) || cookie == k.previous.cookie(caller) || cookie == k.next.cookie(caller) {
			return true
		}
	}
	return cookie == g.own.current.cookie(caller) || cookie == g.own.previous.cookie(caller)
}

// rotate brings the keys up to date.
func (g *CookieGenerator) rotate(now time.Duration) {
	g.own.rotate(int64((now + g.shift) / CookieEpoch))
	if g.source == nil {
		return
	}
	all := g.source.current.Load()
	if all == nil || len(*all) == 0 {
		g.seen, g.shared = all, nil
		return
	}
	epoch := g.wall.epoch(now)
	if all != g.seen {
		g.seen, g.shared = all, make([]cookieKeys, len(*all))
		for i, s := range *all {
			g.shared[i] = newCookieKeys(s, epoch)
		}
	}
	for i := range g.shared {
		g.shared[i].rotate(epoch)
	}
}

func newCookieKeys(s Secret, epoch int64) cookieKeys {
	k := cookieKeys{secret: s, epoch: epoch}
	k.derive()
	return k
}

func (k *cookieKeys) rotate(epoch int64) {
	if epoch != k.epoch {
		k.epoch = epoch
		k.derive()
	}
}

func (k *cookieKeys) derive() {
	k.previous, k.current, k.next = k.secret.key(k.epoch-1), k.secret.key(k.epoch), k.secret.key(k.epoch+1)
}

// key returns the key of an epoch. A hash makes it, so that a leaked key reveals
// neither the secret nor the keys of other epochs.
func (s *Secret) key(epoch int64) cookieKey {
	var in [len(s) + 8]byte
	copy(in[:], s[:])
	binary.BigEndian.PutUint64(in[len(s):], uint64(epoch))
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
