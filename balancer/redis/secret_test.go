package redis

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// sharer is a Balancer that shares a secret.
type sharer struct {
	*Balancer
	mu  sync.Mutex
	all []Secret
}

func openSharer(t *testing.T, servers Servers) *sharer {
	t.Helper()
	s := new(sharer)
	registry := backend.NewRegistry()
	s.Balancer = Open(Options{
		Servers: servers, Registry: registry, Memory: balancer.NewMemory(registry, time.Now), TTL: 30 * time.Second,
		Log: slog.New(slog.DiscardHandler), waits: patience,
		Secrets: func(all []Secret) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.all = slices.Clone(all)
		},
	})
	t.Cleanup(s.Close)
	hurries(t, s.Balancer)
	return s
}

func (s *sharer) secrets() []Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// Relays that start together, or while Redis is away, agree; a Redis that has lost the
// secret gets the same one back.
func TestRelaysAgreeOnASecret(t *testing.T) {
	t.Parallel()
	link := newLink(t, startRedis(t).addr)
	link.set(true)
	a, b := openSharer(t, at(link.addr())), openSharer(t, at(link.addr()))
	if len(a.secrets())+len(b.secrets()) > 0 {
		t.Fatal("a secret without Redis")
	}
	link.set(false)
	agree := func(relays ...*sharer) func() bool {
		return func() bool {
			return !slices.ContainsFunc(relays, func(s *sharer) bool {
				return len(s.secrets()) == 0 || s.secrets()[0] != relays[0].secrets()[0]
			})
		}
	}
	until(t, "both have a secret", func() bool { return len(a.secrets())+len(b.secrets()) >= 2 })
	until(t, "they agree", agree(a, b))
	before := a.secrets()[0]
	must(t, a.client.FlushAll(t.Context()).Err())
	c := openSharer(t, at(link.addr()))
	until(t, "a relay that has just started agrees", func() bool { return len(c.secrets()) > 0 })
	if c.secrets()[0] != before && a.secrets()[0] != before {
		t.Error("a flush has changed the secret at a relay that knew it")
	}
	must(t, a.client.Set(t.Context(), secretKey, "nonsense", 0).Err())
	must(t, a.client.Set(t.Context(), secretKey, strings.Repeat("ab", 32), 0).Err())
	until(t, "another secret is accepted", func() bool {
		return slices.Contains(a.secrets(), Secret(slices.Repeat([]byte{0xab}, 32))) && slices.Contains(b.secrets(), Secret(slices.Repeat([]byte{0xab}, 32)))
	})
	if a.secrets()[0] != before {
		t.Error("used before the other relays accept it")
	}
}

// Another secret is accepted at once, used later, and the former one is accepted for longer
// than a cookie is valid.
func TestSecretChanges(t *testing.T) {
	var last []Secret
	s := sharedSecret{publish: func(all []Secret) { last = slices.Clone(all) }}
	start := time.Unix(1_800_000_000, 0)
	for _, step := range []struct {
		after time.Duration
		found byte
		want  []byte
	}{
		{0, 1, []byte{1}},
		{time.Second, 2, []byte{1, 2}},
		{secretSettles, 2, []byte{1, 2}},
		{secretSettles + time.Second, 2, []byte{2, 1}},
		{secretSettles + 2*time.Second, 3, []byte{2, 3, 1}},
		{secretSettles + 3*time.Second, 2, []byte{2, 1}}, // taken back
		{secretSettles + time.Second + secretOutlives, 2, []byte{2, 1}},
		{secretSettles + 2*time.Second + secretOutlives, 2, []byte{2}},
	} {
		s.note(Secret{step.found}, start.Add(step.after))
		var got []byte
		for _, one := range last {
			got = append(got, one[0])
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("after %v: %v, want %v", step.after, got, step.want)
		}
	}
	other := sharedSecret{publish: func(all []Secret) { last = slices.Clone(all) }}
	other.restore(s.snapshot(), start)
	if !slices.Equal(last, []Secret{{2}}) {
		t.Errorf("the next process begins with %v", last)
	}
}

// A Redis whose ACL forbids the secret, or that has a huge value there, is in use all the same.
func TestSecretThatCannotBeRead(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	link := newLink(t, server.addr)
	must(t, server.Set(t.Context(), secretKey, strings.Repeat("ab", 4<<20), 0).Err())
	a := openSharer(t, at(link.addr()))
	until(t, "Redis to be in use", func() bool { ok, _, _ := a.State(); return ok })
	if n := link.read.Load(); n > 1<<20 {
		t.Errorf("%d bytes were read", n)
	}
	must(t, server.Do(t.Context(), "ACL", "SETUSER", "narrow", "on", ">p", "+@all", "%RW~srs-*", "%RW~srtrelay-[^c]*").Err())
	servers := at(server.addr)
	servers.Username, servers.Password = "narrow", "p"
	b := openSharer(t, servers)
	until(t, "Redis to be in use", func() bool { ok, _, _ := b.State(); return ok })
	rounds := server.rounds(t)
	until(t, "three rounds of both", func() bool { return server.rounds(t) >= rounds+6 })
	if ok, _, detail := b.State(); !ok {
		t.Errorf("Redis is not in use: %s", detail)
	}
}

func TestParseSecret(t *testing.T) {
	for text, ok := range map[string]bool{
		strings.Repeat("0f", 32): true, " " + strings.Repeat("0F", 32) + "\n": true,
		"": false, strings.Repeat("0f", 31): false, strings.Repeat("0f", 33): false, strings.Repeat("zz", 32): false,
		strings.Repeat("00", 32): false,
	} {
		if _, err := parseSecret(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A secret that is read is one that a relay could have written.
func FuzzSecret(f *testing.F) {
	f.Add(hex.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	f.Add(strings.Repeat("0", 64))
	f.Add(" " + strings.Repeat("aB", 32) + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSecret(text)
		if err != nil {
			if s != (Secret{}) {
				t.Error("a part of what cannot be read")
			}
			return
		}
		if again, err := parseSecret(hex.EncodeToString(s[:])); err != nil || again != s || s == (Secret{}) {
			t.Errorf("%q is read as %x, and that as %x, %v", text, s, again, err)
		}
	})
}
