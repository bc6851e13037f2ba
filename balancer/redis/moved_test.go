package redis

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"srtrelay/backend"
)

// shortly is how long heartbeats are good for in these tests.
const shortly = 1500 * time.Millisecond

// beat is a heartbeat of an SRS process, which listens on a port of loopback.
func (r *relay) beat(service, pid string, port uint16) backend.ID {
	r.Helper()
	reg := backend.Registration{
		IP: "127.0.0.1", Device: "origin", Server: "vid-origin", Service: service, PID: pid,
		RTMP: []string{"19351"}, SRT: []string{fmt.Sprintf("udp://0.0.0.0:%d", port)},
	}
	if _, err := r.reg.Register(reg, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), time.Now(), shortly); err != nil {
		r.Fatal(err)
	}
	return reg.ID()
}

// serves waits until a relay knows one backend and takes streams with it.
func (r *relay) serves(id backend.ID) {
	r.Helper()
	until(r.T, fmt.Sprintf("%s to serve alone", id), func() bool {
		all := r.reg.Snapshot().Backends
		return len(all) == 1 && all[0].ID == id && all[0].Available(time.Now())
	})
	if got := r.stream("k"); got.ID != id {
		r.Errorf("%+v, want %s", got, id)
	}
}

// beats repeats f as heartbeats come: a busy machine may be slower than one of them lives.
func beats(f func()) (stop func()) { return repeat(shortly/3, f) }

// An origin restarts, with a new service and pid, and its heartbeats reach
// another relay, or SRS's proxy: the relay that had them takes the live entry
// for its own late one, and serves.
func TestHeartbeatsMoveAfterARestart(t *testing.T) {
	t.Parallel()
	const port = 10081
	moves := map[string]func(t *testing.T, s *server, b *relay) (id backend.ID, stop func()){
		"to another relay": func(_ *testing.T, _ *server, b *relay) (id backend.ID, stop func()) {
			id = b.beat("new", "2", port)
			stop = beats(func() { b.beat("new", "2", port) })
			b.reg.MarkAlive(id, 3, time.Now())
			return id, stop
		},
		"to SRS's proxy": func(t *testing.T, s *server, _ *relay) (id backend.ID, stop func()) {
			key, text := proxied("vid-origin", port)
			stop = beats(func() {
				now := time.Now().Format("2006-01-02T15:04:05.999999999")
				s.write(t, [2]string{key, strings.Replace(text, "2026-01-01T12:00:00.123456789", now, 1)})
			})
			return backend.ID(strings.TrimPrefix(key, serverPrefix)), stop
		},
	}
	for name, move := range moves {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startRedis(t)
			a, b := openFor(t, shortly, 0, at(s.addr)).ready(), openFor(t, shortly, 0, at(s.addr)).ready()
			old := a.beat("old", "1", port)
			stopOld := beats(func() { a.beat("old", "1", port) })
			defer stopOld()
			a.reg.MarkAlive(old, 3, time.Now())
			b.known(old)
			a.reg.SetDraining(old, true)
			stopOld()
			id, stopNew := move(t, s, b)
			defer stopNew()
			a.serves(id)
			got := a.reg.Snapshot().Backends[0]
			if got.Source != backend.SourceShared || got.Draining || got.KeyLen != 3 || got.Weight != 1 {
				t.Errorf("%+v", got)
			}
			until(t, "the old entry to be gone from Redis", func() bool {
				return s.Exists(t.Context(), serverKey(old)).Val() == 0 &&
					!strings.Contains(s.Get(t.Context(), arrayKey).Val(), string(old))
			})
			// They come back here: it is registered again.
			a.beat("new", "2", port)
			if now := a.reg.Snapshot().Backends; len(now) != 1 && name == "to another relay" {
				t.Errorf("%+v", now)
			}
		})
	}
}

// An entry that nobody renews does not take the place of a backend whose
// heartbeats have only ceased: both are as dead, or as alive.
func TestStaleEntryReplacesNobody(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	key, text := proxied("vid-origin", 10081)
	s.write(t, [2]string{key, text})
	a := openFor(t, shortly, 0, at(s.addr)).ready()
	stale := backend.ID(strings.TrimPrefix(key, serverPrefix))
	a.known(stale)
	own := a.beat("old", "1", 10081)
	until(t, "its own entry to be late", func() bool {
		b, ok := a.reg.Snapshot().Find(own)
		return ok && b.Late(time.Now())
	})
	before := s.rounds(t)
	until(t, "three more rounds", func() bool { return s.rounds(t) >= before+3 })
	if all := a.reg.Snapshot().Backends; len(all) != 1 || all[0].ID != own {
		t.Errorf("%+v", all)
	}
}
