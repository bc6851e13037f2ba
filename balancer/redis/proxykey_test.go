package redis

import (
	"errors"
	"fmt"
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

// meeting is a relay and SRS's proxy, which both know two servers, on one Redis.
type meeting struct {
	*relay
	redis *server
	// one and two are the keys of the servers.
	one, two string
}

// meetProxy starts a relay on a Redis of its own.
func meetProxy(t *testing.T, settings ...func(*balancer.Memory)) *meeting {
	t.Helper()
	t.Parallel()
	s := startRedis(t)
	one, text1 := proxied("vid-one", 10081)
	two, text2 := proxied("vid-two", 10082)
	s.write(t, [2]string{one, text1}, [2]string{two, text2})
	m := &meeting{open(t, at(s.addr), settings...).ready(), s, one, two}
	m.known("vid-one-k3j9x2ab-4321")
	m.known("vid-two-k3j9x2ab-4321")
	return m
}

// bound returns the server at which Redis has a key of a stream.
func (m *meeting) bound(key string) string {
	m.Helper()
	return m.redis.Get(m.Context(), urlPrefix+key).Val()
}

// bind does what SRS's proxy does with a new stream.
func (m *meeting) bind(key, server string) {
	m.Helper()
	must(m.T, m.redis.Set(m.Context(), urlPrefix+key, server, 0).Err())
}

// A stream with a dot meets the callers of SRS's proxy, which keeps the dot,
// whoever comes first.
func TestDottedNamesMeetSRSProxy(t *testing.T) {
	t.Parallel()
	t.Run("relay first", func(t *testing.T) {
		m := meetProxy(t)
		got := m.ask(dottedQuery(true))
		if want := serverKey(got.ID); m.bound(dotted) != want || m.bound(dotless) != want {
			t.Errorf("at %s, the proxy finds it at %q", want, m.bound(dotted))
		}
		// It is renewed as long as the stream has sessions.
		must(t, m.redis.PExpire(t.Context(), urlPrefix+dotted, 2*time.Second).Err())
		until(t, "the renewal", func() bool { return m.redis.PTTL(t.Context(), urlPrefix+dotted).Val() > 3*time.Second })
	})
	for _, first := range []bool{true, false} {
		for _, publish := range []bool{true, false} {
			t.Run(fmt.Sprintf("proxy first, at server one: %v, publisher: %v", first, publish), func(t *testing.T) {
				m := meetProxy(t, playersFollow)
				key := m.two
				if first {
					key = m.one
				}
				m.bind(dotted, key)
				if got := m.ask(dottedQuery(publish)); serverKey(got.ID) != key || m.bound(dotless) != key {
					t.Errorf("the proxy has it at %s, the relay at %s", key, got.ID)
				}
				if got, _, err := m.Explain(dottedQuery(publish)); err != nil || serverKey(got.ID) != key {
					t.Errorf("explained %s, %v", got.ID, err)
				}
				if ttl := m.redis.TTL(t.Context(), urlPrefix+dotted).Val(); ttl != -1 {
					t.Errorf("the proxy's binding ends in %v", ttl)
				}
			})
		}
	}
	t.Run("both bound", func(t *testing.T) {
		m := meetProxy(t)
		m.unhurried()
		m.bind(dotless, m.one)
		m.bind(dotted, m.two)
		if got := m.ask(dottedQuery(false)); serverKey(got.ID) != m.one || m.bound(dotted) != m.two {
			t.Errorf("a player is at %s, the spelling at %s", got.ID, m.bound(dotted))
		}
		// What Redis has confirmed is taken as it is for a while.
		stream := balancer.AffinityKey{Stream: dotless}
		until(t, "Redis to be asked again", func() bool { return !m.confirmedKeys.has(stream, time.Now()) })
		if got := m.ask(dottedQuery(true)); serverKey(got.ID) != m.one || m.bound(dotted) != m.one {
			t.Errorf("a publisher is at %s, the spelling at %s", got.ID, m.bound(dotted))
		}
	})
	t.Run("spelling at a dead server", func(t *testing.T) {
		m := meetProxy(t)
		m.bind(dotted, "srs-proxy-server:vid-gone-x-1")
		if got := m.ask(dottedQuery(false)); m.bound(dotted) != serverKey(got.ID) {
			t.Errorf("at %s, the spelling at %s", got.ID, m.bound(dotted))
		}
	})
	t.Run("nobody publishes", func(t *testing.T) {
		m := meetProxy(t, playersFollow)
		if _, err := m.Pick(t.Context(), dottedQuery(false)); !errors.Is(err, backend.ErrNoStream) {
			t.Error(err)
		}
	})
}
