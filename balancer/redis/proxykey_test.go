package redis

import (
	"errors"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
)

const (
	dotless = "__defaultVhost__/live/cam"
	dotted  = "__defaultVhost__/live/cam.01"
)

func dottedQuery(publish bool) backend.Query {
	return backend.Query{Key: dotless, ProxyKey: dotted, Publish: publish}
}

// A stream with a dot meets the callers of SRS's proxy, which keeps the dot,
// whoever comes first.
func TestDottedNamesMeetSRSProxy(t *testing.T) {
	s := startRedis(t)
	k1, text1 := proxied("vid-one", 10081)
	k2, text2 := proxied("vid-two", 10082)
	s.write(t, [2]string{k1, text1}, [2]string{k2, text2})
	spelledAt := func() string { return s.Get(t.Context(), urlPrefix+dotted).Val() }
	start := func(settings ...func(*balancer.Memory)) *relay {
		must(t, s.Del(t.Context(), urlPrefix+dotless, urlPrefix+dotted).Err())
		r := open(t, at(s.addr), settings...).ready()
		r.known("vid-one-k3j9x2ab-4321")
		r.known("vid-two-k3j9x2ab-4321")
		return r
	}

	t.Run("relay first", func(t *testing.T) {
		r := start()
		got := r.ask(dottedQuery(true))
		if want := serverKey(got.ID); spelledAt() != want || s.Get(t.Context(), urlPrefix+dotless).Val() != want {
			t.Errorf("at %s, the proxy finds it at %q", want, spelledAt())
		}
		// It is renewed as long as the stream has sessions.
		must(t, s.PExpire(t.Context(), urlPrefix+dotted, 2*time.Second).Err())
		until(t, "the renewal", func() bool { return s.PTTL(t.Context(), urlPrefix+dotted).Val() > 3*time.Second })
	})
	t.Run("proxy first", func(t *testing.T) {
		for _, key := range []string{k1, k2} {
			for _, publish := range []bool{true, false} {
				r := start(func(m *balancer.Memory) { m.PlayersCreate = false })
				must(t, s.Set(t.Context(), urlPrefix+dotted, key, 0).Err())
				if got := r.ask(dottedQuery(publish)); serverKey(got.ID) != key || s.Get(t.Context(), urlPrefix+dotless).Val() != key {
					t.Errorf("the proxy has it at %s, the relay at %s", key, got.ID)
				}
				if got, _, err := r.Explain(dottedQuery(publish)); err != nil || serverKey(got.ID) != key {
					t.Errorf("explained %s, %v", got.ID, err)
				}
				if ttl := s.TTL(t.Context(), urlPrefix+dotted).Val(); ttl != -1 {
					t.Errorf("the proxy's binding ends in %v", ttl)
				}
			}
		}
	})
	t.Run("both bound", func(t *testing.T) {
		r := start()
		must(t, s.Set(t.Context(), urlPrefix+dotless, k1, 0).Err())
		must(t, s.Set(t.Context(), urlPrefix+dotted, k2, 0).Err())
		if got := r.ask(dottedQuery(false)); serverKey(got.ID) != k1 || spelledAt() != k2 {
			t.Errorf("a player is at %s, the spelling at %s", got.ID, spelledAt())
		}
		time.Sleep(confirmedFor) // what Redis has confirmed is taken as it is for so long
		if got := r.ask(dottedQuery(true)); serverKey(got.ID) != k1 || spelledAt() != k1 {
			t.Errorf("a publisher is at %s, the spelling at %s", got.ID, spelledAt())
		}
	})
	t.Run("spelling at a dead server", func(t *testing.T) {
		r := start()
		must(t, s.Set(t.Context(), urlPrefix+dotted, "srs-proxy-server:vid-gone-x-1", 0).Err())
		if got := r.ask(dottedQuery(false)); spelledAt() != serverKey(got.ID) {
			t.Errorf("at %s, the spelling at %s", got.ID, spelledAt())
		}
	})
	t.Run("nobody publishes", func(t *testing.T) {
		r := start(func(m *balancer.Memory) { m.PlayersCreate = false })
		if _, err := r.Pick(t.Context(), dottedQuery(false)); !errors.Is(err, backend.ErrNoStream) {
			t.Error(err)
		}
	})
}
