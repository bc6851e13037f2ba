package redis

import (
	"testing"
	"time"

	"srtrelay/backend"
)

// The bug: one relay's lost path to a backend rebound a stream with a live
// publisher for all relays. And a binding that nothing has proven outlived its
// failure.
func TestLostPathRebindsNobody(t *testing.T) {
	s := startRedis(t)
	a, b := openWith(t, 3, at(s.addr)).ready(), openWith(t, 3, at(s.addr)).ready()
	pub := a.ask(backend.Query{Key: "k", Publish: true})
	a.Report(backend.Outcome{Lease: pub.Lease, Fate: backend.FateBegan})
	until(t, "the publisher to have proven its backend", func() bool {
		return s.PTTL(t.Context(), urlPrefix+"k").Val() > b.renewedTTL
	})
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
	a.Report(backend.Outcome{Lease: failed.Lease, Fate: backend.FateRefused})
	until(t, "the binding to be taken out", func() bool { return s.Exists(t.Context(), urlPrefix+"new").Val() == 0 })
}
