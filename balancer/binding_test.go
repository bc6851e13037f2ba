package balancer

import (
	"testing"
	"time"

	"srtrelay/backend"
)

// The bug: three lost probes moved a stream with the next player, for good,
// away from its live publisher.
func TestLostProbesDoNotPartPlayersFromTheirPublisher(t *testing.T) {
	s := newStand(t, 2)
	pub, err := s.ask(backend.Query{Key: "k", Publish: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Report(backend.Outcome{Lease: pub.Lease, Fate: backend.FateBegan})
	s.reg.MarkDownQuiet(pub.ID)
	stray := s.expect("k", 0, other(pub.ID), "a player while probes are lost")
	s.Report(backend.Outcome{Lease: stray.Lease, Fate: backend.FateBegan})
	s.reg.MarkAlive(pub.ID, 0, s.at)
	s.expect("k", 0, pub.ID, "the backend answers again")
	s.reg.MarkDown(pub.ID)
	s.expect("k", 0, other(pub.ID), "nobody listens there, for certain")
	s.reg.MarkAlive(pub.ID, 0, s.at)
	s.expect("k", 0, other(pub.ID), "the stream has moved")
}

// A place is shared while its first session is pending, and ends with it if it
// fails: the next try goes elsewhere.
func TestNoBindingWithoutASuccess(t *testing.T) {
	s := newStand(t, 2)
	first := s.pick("k", 0)
	mate := s.expect("k", 0, first.ID, "at the same time")
	for _, l := range []backend.Lease{first.Lease, mate.Lease} {
		s.Report(backend.Outcome{Lease: l, Fate: backend.FateBegan})
		s.Report(backend.Outcome{Lease: l, Fate: backend.FateClosed, Lasted: 10 * time.Millisecond})
	}
	if len(s.bindings.byKey) != 0 {
		t.Error("a stream is bound to where no session has lived")
	}
	s.expect("k", 0, other(first.ID), "the next try")
}
