package redis

import (
	"testing"
	"time"

	"srtrelay/backend"
)

// renewed reports whether a proven binding of a stream was renewed a moment ago.
func (r *relay) renewed(s *server, key string) bool {
	left := s.PTTL(r.Context(), urlPrefix+key).Val()
	return left > r.renewedTTL && left <= r.bindTTL
}

// The bug: one relay's lost path to a backend rebound a stream with a live
// publisher for all relays. And a binding that nothing has proven outlived its
// failure.
func TestLostPathRebindsNobody(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := openWith(t, 3, at(s.addr)).ready(), openWith(t, 3, at(s.addr)).ready()
	b.unhurried() // it would write what has been taken out again
	pub := a.ask(backend.Query{Key: "k", Publish: true})
	a.Report(backend.Outcome{Lease: pub.Lease, Fate: backend.FateBegan})
	until(t, "the publisher to have proven its backend", func() bool { return a.renewed(s, "k") })
	b.reg.MarkDownQuiet(pub.ID)
	probes := b.reg.Watch()
	defer probes.Close()
	if got := b.stream("k"); got.ID == pub.ID {
		t.Error("a player went to a backend that lets probes pass")
	}
	if got := a.stream("k"); got.ID != pub.ID {
		t.Errorf("the publisher is at %s, another relay's player at %s", pub.ID, got.ID)
	}
	if asked := probes.Collect(); len(asked) != 1 {
		t.Errorf("%v to be probed at once, want the backend that another relay uses", asked)
	}
	b.reg.MarkAlive(pub.ID, 0, time.Now())
	until(t, "the home to count again", func() bool { return b.stream("k").ID == pub.ID })

	failed := a.stream("new")
	if b.stream("new").ID != failed.ID {
		t.Error("the relays do not agree")
	}
	a.Report(backend.Outcome{Lease: failed.Lease, Fate: backend.FateRefused})
	until(t, "the binding to be taken out", func() bool { return s.Exists(t.Context(), urlPrefix+"new").Val() == 0 })
}

// The bug: the same lost path rebound a stream whose publisher had only just come, so that the
// players of all other relays went where he was not. A relay whose caller was refused there, or
// that knows the backend to be gone, goes on at once.
func TestLostPathRebindsNoYoungPublisher(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b, c := openWith(t, 4, at(s.addr)).ready(), openWith(t, 4, at(s.addr)).ready(), openWith(t, 4, at(s.addr)).ready()
	for _, began := range []bool{false, true} {
		k := map[bool]string{false: "handshake", true: "session"}[began]
		pub := a.ask(backend.Query{Key: k, Publish: true})
		if began {
			a.Report(backend.Outcome{Lease: pub.Lease, Fate: backend.FateBegan})
		}
		b.reg.MarkDownQuiet(pub.ID)
		if got := b.stream(k); got.ID == pub.ID {
			t.Error("a caller went to a backend that lets probes pass")
		}
		if got := c.stream(k); got.ID != pub.ID {
			t.Errorf("%s: the publisher is at %s, another relay's player at %s", k, pub.ID, got.ID)
		}
		b.reg.MarkAlive(pub.ID, 0, time.Now())
	}
	until(t, "the binding to be an ordinary one", func() bool { return a.renewed(s, "session") })

	refused := a.ask(backend.Query{Key: "refused", Publish: true})
	q := backend.Query{Key: "refused", Publish: true, Tried: [2]backend.ID{refused.ID}}
	if next := b.ask(q); c.stream("refused").ID != next.ID {
		t.Error("a caller that was refused did not take the stream along")
	}
	gone := a.ask(backend.Query{Key: "gone", Publish: true})
	b.reg.MarkDown(gone.ID)
	if next := b.stream("gone"); next.ID == gone.ID || c.stream("gone").ID != next.ID {
		t.Error("a stream stays at a backend that is gone")
	}
}

// The bug: a caller that failed at another relay removed the binding of a publisher that had only
// just come.
func TestFailureElsewhereRemovesNoYoungPublisher(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := openWith(t, 3, at(s.addr)).ready(), openWith(t, 3, at(s.addr)).ready()
	a.ask(backend.Query{Key: "k", Publish: true})
	player := b.ask(backend.Query{Key: "k"})
	b.Report(backend.Outcome{Lease: player.Lease, Fate: backend.FateRefused})
	other := b.ask(backend.Query{Key: "other"}) // whose removal comes after that of k
	b.Report(backend.Outcome{Lease: other.Lease, Fate: backend.FateRefused})
	until(t, "the other binding to be removed", func() bool { return s.Exists(t.Context(), urlPrefix+"other").Val() == 0 })
	if s.Exists(t.Context(), urlPrefix+"k").Val() == 0 {
		t.Error("the publisher's binding is removed")
	}
}
