package handshake

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// MaxSharedSecrets is how many secrets relays share at once: one that makes cookies, and
// those before and after it, which are accepted while it is being changed on all relays.
const MaxSharedSecrets = 4

// SharedSecrets publishes the secrets that several relays behind one address share: the
// first makes cookies, all are accepted. Then a caller may get its cookie from one relay
// and present it to another. Any goroutine may use it.
type SharedSecrets struct {
	current atomic.Pointer[[]Secret]
}

// Publish replaces the secrets; none has every relay use its own. Only the first
// MaxSharedSecrets count.
func (p *SharedSecrets) Publish(all []Secret) {
	all = slices.Clone(all[:min(len(all), MaxSharedSecrets)])
	if old := p.current.Load(); old != nil && slices.Equal(*old, all) {
		return
	}
	p.current.Store(&all)
}

// Load returns the secrets in force, which the caller must not change.
func (p *SharedSecrets) Load() []Secret {
	if all := p.current.Load(); all != nil {
		return *all
	}
	return nil
}

// Version returns what changes whenever the secrets do.
func (p *SharedSecrets) Version() *[]Secret { return p.current.Load() }

const (
	// minSecretText is the shortest secret that is accepted, in characters: 128 bits in hex.
	minSecretText = 32
	maxSecretText = 512
)

// ParseSecrets reads a file of shared secrets: one per line, the first one makes cookies.
// Empty lines and lines that begin with # are left out. Errors do not quote a secret.
func ParseSecrets(text string) ([]Secret, error) {
	var all []Secret
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
			continue
		case len(line) < minSecretText:
			return nil, fmt.Errorf("line %d: a secret has at least %d characters, write one with: openssl rand -hex 32", n, minSecretText)
		case len(line) > maxSecretText:
			return nil, fmt.Errorf("line %d: longer than %d characters", n, maxSecretText)
		case len(all) == MaxSharedSecrets:
			return nil, fmt.Errorf("line %d: at most %d secrets", n, MaxSharedSecrets)
		}
		s := SecretOf(line)
		if slices.Contains(all, s) {
			return nil, fmt.Errorf("line %d: a secret twice", n)
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, errors.New("no secret in it")
	}
	return all, nil
}

// SecretOf returns the secret that a text stands for.
func SecretOf(text string) Secret { return sha256.Sum256([]byte("srtrelay cookie\x00" + text)) }

// wallEvery is how often the wall clock is read while handshakes arrive: after a jump of
// the clock the epochs are wrong for no longer.
const wallEvery = time.Second

// wallClock follows the wall clock, which relays share within some tens of seconds. One
// epoch of difference is accepted.
type wallClock struct {
	read   func() time.Time
	valid  bool
	readAt time.Duration // by the shard's clock
	offset time.Duration // what the wall clock is ahead of that
}

// epoch returns the epoch of the shared secrets.
func (w *wallClock) epoch(now time.Duration) int64 {
	if !w.valid || now-w.readAt >= wallEvery || now < w.readAt {
		w.valid, w.readAt = true, now
		w.offset = time.Duration(w.read().UnixNano()) - now
	}
	return int64((now + w.offset) / CookieEpoch)
}
