package balancer

import (
	"hash/maphash"
	"slices"
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
	if s.bindings.count != 0 {
		t.Error("a stream is bound to where no session has lived")
	}
	s.expect("k", 0, other(first.ID), "the next try")
}

// Bindings whose keys have the same hash are told apart.
func TestBindingsOfOneHash(t *testing.T) {
	bs := newBindings(0)
	a, b := &binding{stream: "a"}, &binding{group: 1}
	bs.add(a)
	// b's hash is another one, so that it is put where a collision would have put it.
	bs.byHash[maphash.Comparable(bs.seed, a.key())] = b
	b.next = a
	bs.count++
	if bs.of(a.key()) != a {
		t.Error("the binding behind another one is not found")
	}
	if all := slices.Collect(bs.all()); !slices.Equal(all, []*binding{b, a}) {
		t.Errorf("there are %d bindings", len(all))
	}
	if !bs.remove(a) || bs.of(a.key()) != nil || bs.count != 1 || b.next != nil {
		t.Error("it is not removed alone")
	}
	if bs.remove(a) {
		t.Error("it is removed twice")
	}
}
