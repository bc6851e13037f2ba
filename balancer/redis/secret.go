package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// The secret that relays behind one address share: 64 hexadecimal digits, without a TTL.
const secretKey = "srtrelay-cookie-secret"

const (
	// secretSettles is how long a relay that finds another secret accepts it before it
	// uses it: by then every other relay has read it too, and accepts it.
	secretSettles = 10 * time.Second
	// secretOutlives is for how long the former secret is accepted: as long as a cookie is
	// valid, and a while more for clocks that differ.
	secretOutlives = 3 * time.Minute
)

// maxSecretText is the last byte of the key's value that is read. A secret with spaces around it is
// shorter.
const maxSecretText = 255

// Secret is one that relays share.
type Secret [32]byte

// sharedSecret agrees with the other relays on a secret. The first relay that finds none
// writes one, and every relay that finds none later writes the one that it knows: so a
// Redis that has lost it gets the same secret back. An operator changes it with SET.
type sharedSecret struct {
	publish func([]Secret) // nil: nobody asks

	mu     sync.Mutex
	known  bool
	using  Secret
	next   Secret // found instead, zero for none
	since  time.Time
	former []formerSecret
	logged bool // that the key cannot be read
}

// formerSecret is accepted for a while.
type formerSecret struct {
	Secret
	until time.Time
}

// maxFormer is how many former secrets are accepted at once.
const maxFormer = 2

// errNoSecret means that the key has something else than a secret.
var errNoSecret = errors.New("not 64 hexadecimal digits")

// syncSecret is the secret's part of a round. A key that has something else is left alone.
func (b *Balancer) syncSecret(ctx context.Context, now time.Time) error {
	s := &b.secret
	if s.publish == nil {
		return nil
	}
	text, err := b.readSecret(ctx)
	if err != nil && !isRefusal(err) {
		return err
	}
	var found Secret
	if err == nil {
		found, err = parseSecret(text)
	}
	if err != nil {
		if !s.logged {
			s.logged = true
			b.log.Warn("the shared secret cannot be used", "key", secretKey, "error", err)
		}
		return nil
	}
	s.logged = false
	if s.note(found, now) {
		b.log.Info("another shared secret, in use soon", "key", secretKey, "from_in_s", secretSettles.Seconds())
	}
	return nil
}

// readSecret reads the key, and writes it if there is none.
func (b *Balancer) readSecret(ctx context.Context) (string, error) {
	var got *goredis.StringCmd
	read := func(p goredis.Pipeliner) { got = p.GetRange(ctx, secretKey, 0, maxSecretText) }
	if err := b.pipeline(ctx, read); err != nil {
		return "", err
	}
	if got.Err() != nil || got.Val() != "" {
		return got.Val(), nil
	}
	err := b.pipeline(ctx, func(p goredis.Pipeliner) {
		p.SetNX(ctx, secretKey, b.secret.offer(), 0)
		read(p)
	})
	return got.Val(), err
}

// offer returns what to write if there is no secret: the one in use, or a new one.
func (s *sharedSecret) offer() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	offered := s.using
	switch {
	case s.next != Secret{}:
		offered = s.next
	case !s.known:
		_, _ = rand.Read(offered[:]) // never fails
	}
	return hex.EncodeToString(offered[:])
}

// note notes the secret that Redis has, and reports whether it is another one.
func (s *sharedSecret) note(found Secret, now time.Time) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.known:
		s.known, s.using = true, found
	case found == s.using:
		s.next = Secret{}
	case found != s.next:
		s.next, s.since, changed = found, now, true
	case now.Sub(s.since) >= secretSettles:
		s.former = append([]formerSecret{{s.using, now.Add(secretOutlives)}}, s.former...)
		s.using, s.next = found, Secret{}
	}
	s.former = slices.DeleteFunc(s.former, func(f formerSecret) bool { return now.After(f.until) || f.Secret == s.using })
	s.former = s.former[:min(len(s.former), maxFormer)]
	s.publish(s.all())
	return changed
}

// all returns the secrets to use: the first makes cookies, all are accepted.
func (s *sharedSecret) all() []Secret {
	all := []Secret{s.using}
	if s.next != (Secret{}) {
		all = append(all, s.next)
	}
	for _, f := range s.former {
		all = append(all, f.Secret)
	}
	return all
}

// restore goes on with the secrets of the relay's former process, until Redis has been read.
func (s *sharedSecret) restore(all []Secret, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(all) == 0 || s.known {
		return
	}
	s.known, s.using = true, all[0]
	for _, f := range all[1:min(len(all), 1+maxFormer)] {
		s.former = append(s.former, formerSecret{f, now.Add(secretOutlives)})
	}
	if s.publish != nil {
		s.publish(s.all())
	}
}

// snapshot returns the secrets for another process.
func (s *sharedSecret) snapshot() []Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known {
		return nil
	}
	return s.all()
}

func parseSecret(text string) (s Secret, err error) {
	b, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(b) != len(s) {
		return s, errNoSecret
	}
	copy(s[:], b)
	if s == (Secret{}) {
		return s, errNoSecret
	}
	return s, nil
}
