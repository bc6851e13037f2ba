package handshake

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/dchest/siphash"

	"srtrelay/addr"
)

// CookieEpoch is how long one secret bakes cookies. The one before it is still
// honoured, so a cookie lives for one to two epochs, as libsrt's own does.
const CookieEpoch = time.Minute

// Secret is what all cookies of a relay derive from. Shards share it, so that
// a caller whose flow moves to another shard keeps a good cookie.
type Secret [32]byte

// Jar bakes and checks SYN cookies without remembering any: a keyed hash over
// the caller's address under a secret that rotates every CookieEpoch. Each
// shard owns one.
type Jar struct {
	secret   Secret
	epoch    int64
	current  jarKey
	previous jarKey
}

type jarKey struct{ k0, k1 uint64 }

// NewJar returns a jar at time 0.
func NewJar(s Secret) *Jar {
	j := &Jar{secret: s}
	j.current, j.previous = j.derive(0), j.derive(-1)
	return j
}

// Bake returns the caller's cookie; it is never 0, the value of a caller that
// has none.
func (j *Jar) Bake(now time.Duration, caller addr.AddrPort) uint32 {
	j.turn(now)
	return j.current.cookie(caller)
}

// Check reports whether cookie was baked for caller in this epoch or the last.
func (j *Jar) Check(now time.Duration, caller addr.AddrPort, cookie uint32) bool {
	j.turn(now)
	return cookie == j.current.cookie(caller) || cookie == j.previous.cookie(caller)
}

func (j *Jar) turn(now time.Duration) {
	epoch := int64(now / CookieEpoch)
	if epoch == j.epoch {
		return
	}
	j.epoch = epoch
	j.current, j.previous = j.derive(epoch), j.derive(epoch-1)
}

// derive makes the key of an epoch: one way, so that a leaked key says nothing
// of the secret or of other epochs.
func (j *Jar) derive(epoch int64) jarKey {
	var in [len(j.secret) + 8]byte
	copy(in[:], j.secret[:])
	binary.BigEndian.PutUint64(in[len(j.secret):], uint64(epoch))
	sum := sha256.Sum256(in[:])
	return jarKey{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])}
}

func (k jarKey) cookie(a addr.AddrPort) uint32 {
	var in [22]byte
	copy(in[:], a.IP[:])
	binary.BigEndian.PutUint32(in[16:], a.Zone)
	binary.BigEndian.PutUint16(in[20:], a.Port)
	c := uint32(siphash.Hash(k.k0, k.k1, in[:]))
	return max(c, 1)
}
