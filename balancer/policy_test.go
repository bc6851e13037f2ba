package balancer

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"srtrelay/backend"
)

// The cluster of the contract: 200 backends, 10,000 streams, with players
// that come and go. The spread stays within 20 % of even, and no stream moves.
func TestTwoHundredBackends(t *testing.T) {
	const backends, streams = 200, 10_000
	s := newStand(t, backends)
	boundTo := map[string]backend.ID{}
	for i := range streams {
		got := s.pick(key(i), 0)
		boundTo[key(i)] = got.ID
	}
	for i := range 3 * streams {
		s.at = s.at.Add(time.Millisecond)
		k := key(i * 7919 % streams)
		player := s.expect(k, 0, boundTo[k], "a player")
		if i%2 == 0 {
			s.Release(player.Lease)
		}
	}
	for id, l := range s.Loads() {
		if even := streams / backends; l.Streams < even*8/10 || l.Streams > even*12/10 {
			t.Errorf("%s has %d streams, even are %d", id, l.Streams, even)
		}
	}
}

func TestLeastSessionsFollowsWeights(t *testing.T) {
	s := newStand(t, 3)
	s.reg.SetWeight("b1", 2)
	s.reg.SetWeight("b2", 5)
	for i := range 800 {
		s.pick(key(i), 0)
	}
	loads := s.Loads()
	if loads["b0"].Sessions != 100 || loads["b1"].Sessions != 200 || loads["b2"].Sessions != 500 {
		t.Errorf("weights 1, 2 and 5 carry %v", loads)
	}
}

func TestBitrateDecidesAmongEquals(t *testing.T) {
	s := newStand(t, 3)
	rates := map[backend.ID]float64{"b0": 9e6, "b1": 8e6, "b2": 30e6}
	s.Bitrate = func(id backend.ID) float64 { return rates[id] }
	s.expect("a", 0, "b1", "least bitrate")
	s.expect("b", 0, "b0", "the others have fewer sessions")
	s.reg.SetWeight("b2", 4) // 0 sessions still, but it is asked for by sessions
	s.expect("c", 0, "b2", "no sessions beats any bitrate")
	s.expect("d", 0, "b2", "a quarter of a session beats one")
}

func TestHashPolicy(t *testing.T) {
	s := newStand(t, 9)
	s.Policy = PolicyHash
	all := fleet(9)
	for i := range 200 {
		s.expect(key(i), 0, highestRank(key(i), all).ID, "not where the hash puts it")
	}
}

func TestRandomFollowsWeights(t *testing.T) {
	s := newStand(t, 3)
	s.Policy = PolicyRandom
	s.reg.SetWeight("b2", 3)
	const keys = 20_000
	for i := range keys {
		s.pick(key(i), 0)
	}
	loads := s.Loads()
	for id, share := range map[backend.ID]float64{"b0": 0.2, "b1": 0.2, "b2": 0.6} {
		if off := math.Abs(float64(loads[id].Sessions) - share*keys); off > 6*math.Sqrt(share*keys) {
			t.Errorf("%s got %d of %d", id, loads[id].Sessions, keys)
		}
	}
}

// Who drains, or is late, gets no new streams and keeps those that it has.
func TestDrainingAndLate(t *testing.T) {
	for what, out := range map[string]func(*stand){
		"draining": func(s *stand) { s.reg.SetDraining("b0", true) },
		"late": func(s *stand) {
			b, _ := s.reg.Snapshot().Find("b0")
			b.Expires = s.at.Add(-time.Second)
			s.reg.Put(b)
		},
	} {
		for _, p := range []Policy{PolicyLeastSessions, PolicyHash, PolicyRandom} {
			s := newStand(t, 2)
			s.Policy = p
			k, got := s.keyAt("b0")
			out(s)
			s.expect(k, 0, "b0", what)
			for i := range 50 {
				s.expect(fmt.Sprint(what, i), 0, "b1", "new while b0 is "+what)
			}
			s.Release(got.Lease)
		}
	}
}

func (s *stand) ask(q backend.Query) (backend.Target, error) {
	s.Helper()
	return s.Pick(s.Context(), q)
}

func TestTriedIsNotChosenAgain(t *testing.T) {
	s := newStand(t, 3)
	k, own := s.keyAt("b0")
	for _, p := range []Policy{PolicyLeastSessions, PolicyHash, PolicyRandom} {
		s.Policy = p
		for i := range 30 {
			q := backend.Query{Key: fmt.Sprint(p, i), Tried: [2]backend.ID{"b0", "b2"}}
			if got, err := s.ask(q); err != nil || got.ID != "b1" {
				t.Fatalf("%s: %+v, %v", p, got, err)
			}
		}
	}
	// The stream lives there for others: only this caller goes elsewhere.
	s.Report(backend.Outcome{Lease: own.Lease, Fate: backend.FateBegan})
	got, err := s.ask(backend.Query{Key: k, Tried: [2]backend.ID{"b0"}})
	if err != nil || got.ID == "b0" {
		t.Fatalf("%+v, %v", got, err)
	}
	s.expect(k, 0, "b0", "one caller's silence moved the stream of another")
	s.Release(own.Lease)
	s.reg.MarkDown("b1")
	s.reg.MarkDown("b2")
	if _, err := s.ask(backend.Query{Key: k, Tried: [2]backend.ID{"b0"}}); !errors.Is(err, backend.ErrNone) {
		t.Errorf("nobody left, yet %v", err)
	}
}

// The first caller of a stream finds its backend silent: the stream goes with
// it to the next, whether its old lease comes back before or after.
func TestTriedRebindsALoneStream(t *testing.T) {
	for _, late := range []bool{false, true} {
		s := newStand(t, 2)
		k, own := s.keyAt("b0")
		if !late {
			s.Release(own.Lease)
		}
		got, err := s.ask(backend.Query{Key: k, Group: 4, Tried: [2]backend.ID{"b0"}})
		if err != nil || got.ID != "b1" {
			t.Fatalf("%+v, %v", got, err)
		}
		if late {
			s.Release(own.Lease)
		}
		s.expect(k, 0, "b1", fmt.Sprintf("old lease late %v", late))
		s.expect("mate", 4, "b1", "the group")
	}
}

func TestPlayersCreate(t *testing.T) {
	s := newStand(t, 2)
	s.PlayersCreate = false
	play := func(k string, group uint32) error {
		_, err := s.ask(backend.Query{Key: k, Group: group})
		return err
	}
	if err := play("k", 0); !errors.Is(err, backend.ErrNoStream) {
		t.Errorf("a player of nothing: %v", err)
	}
	pub, err := s.ask(backend.Query{Key: "k", Group: 5, Publish: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := play("k", 0); err != nil {
		t.Errorf("a player of a stream: %v", err)
	}
	if err := play("other", 5); err != nil {
		t.Errorf("a player in the publisher's group: %v", err)
	}
	if err := play("third", 6); !errors.Is(err, backend.ErrNoStream) {
		t.Errorf("a player of nothing in a new group: %v", err)
	}
	if _, err := s.ask(backend.Query{Key: "k2", Tried: [2]backend.ID{"b0"}}); err != nil {
		t.Errorf("a player whose backend was silent: %v", err)
	}
	s.reg.MarkDown(pub.ID)
	if err := play("k", 0); !errors.Is(err, backend.ErrNoStream) {
		t.Errorf("its backend is down: %v", err)
	}
}

func TestAffinityIsASetting(t *testing.T) {
	s := newStand(t, 2)
	s.Affinity = time.Minute
	k, got := s.keyAt("b0")
	s.Release(got.Lease)
	s.at = s.at.Add(time.Minute - time.Nanosecond)
	if c, err := s.Prefer(backend.Query{Key: k}, s.Policy); err != nil || !c.Bound || c.Backend.ID != "b0" {
		t.Errorf("%+v, %v", c, err)
	}
	s.at = s.at.Add(time.Nanosecond)
	if c, err := s.Prefer(backend.Query{Key: k}, s.Policy); err != nil || c.Bound {
		t.Errorf("still bound: %+v, %v", c, err)
	}
}

func TestBind(t *testing.T) {
	s := newStand(t, 3)
	k, old := s.keyAt("b0")
	s.Report(backend.Outcome{Lease: old.Lease, Fate: backend.FateBegan})
	s.Bind(AffinityKey{Stream: k}, "b2")
	pending := s.expect(k, 0, "b2", "bound elsewhere")
	if !s.HasSessions(AffinityKey{Stream: k}, "b0") || s.HasSessions(AffinityKey{Stream: k}, "b2") {
		t.Error("Lives does not tell where sessions are established")
	}
	s.Report(backend.Outcome{Lease: pending.Lease, Fate: backend.FateBegan})
	if !s.HasSessions(AffinityKey{Stream: k}, "b2") || s.HasSessions(AffinityKey{Stream: k}, "b1") {
		t.Error("Lives does not tell where sessions are established")
	}
	s.Release(old.Lease)
	s.expect(k, 0, "b2", "the first has left")
	s.Bind(AffinityKey{Stream: "nobody"}, "b1")
	if got := s.Bindings(); len(got) != 1 || got[0] != (Binding{Key: AffinityKey{Stream: k}, At: "b2"}) {
		t.Errorf("bindings %v", got)
	}
}

func TestExplain(t *testing.T) {
	s := newStand(t, 2)
	k, _ := s.keyAt("b1")
	s.expect(k, 8, "b1", "group")
	explain := func(q backend.Query, want backend.ID, why string) {
		t.Helper()
		boundTo, leases, loads := s.bindings.count, s.leases.len(), fmt.Sprint(s.Loads())
		got, text, err := s.Explain(q)
		if err != nil || got.ID != want || got.Lease != 0 || !got.Addr.IsValid() || !strings.Contains(text, why) {
			t.Errorf("%+v: %+v, %q, %v", q, got, text, err)
		}
		if boundTo != s.bindings.count || leases != s.leases.len() || loads != fmt.Sprint(s.Loads()) {
			t.Errorf("%+v: a dry run has left traces", q)
		}
	}
	explain(backend.Query{Key: k}, "b1", "the stream is there")
	explain(backend.Query{Key: "x", Group: 8}, "b1", "group is there")
	explain(backend.Query{Key: "x"}, "b0", "fewest sessions (0 of b0, weight 1)")
	s.Policy = PolicyHash
	explain(backend.Query{Key: "x"}, highestRank("x", fleet(2)).ID, "hash")
	s.PlayersCreate = false
	if _, _, err := s.Explain(backend.Query{Key: "x"}); !errors.Is(err, backend.ErrNoStream) {
		t.Errorf("%v", err)
	}
}

func BenchmarkPickAmong200(b *testing.B) {
	s := newStand(nil, 200)
	for i := range 10_000 {
		_, _ = s.Pick(b.Context(), backend.Query{Key: key(i)})
	}
	for i := 0; b.Loop(); i++ {
		t, _ := s.Pick(b.Context(), backend.Query{Key: fmt.Sprint("new", i)})
		s.Release(t.Lease)
	}
}
