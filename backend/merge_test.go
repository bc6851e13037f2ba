package backend

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// sharedAt is a backend as a shared store tells of it.
func sharedAt(id ID, addr string) Backend {
	return Backend{
		ID: id, Source: SourceShared, Addr: netip.MustParseAddrPort(addr), Down: true, Weight: 1, Added: noon,
		Expires: noon.Add(time.Minute),
	}
}

// Who decides by an older view must not undo what came in between.
func TestMergeOnlyWhatWasSeen(t *testing.T) {
	r := NewRegistry()
	a := sharedAt("a", "10.0.0.1:1")
	r.Merge([]Change{{New: a}}, noon)
	find(t, r, "a")
	r.Merge([]Change{{New: sharedAt("a", "10.0.0.2:1")}}, noon)
	if b := find(t, r, "a"); b.Addr != a.Addr {
		t.Errorf("one that is there was taken for a new one: %+v", b)
	}
	r.MarkAlive("a", 4, noon)
	later := a
	later.Expires = noon.Add(time.Hour)
	if refused := r.Merge([]Change{{Old: a, New: later}}, noon); len(refused) != 0 {
		t.Errorf("%+v", refused)
	}
	if b := find(t, r, "a"); b.Down || b.KeyLen != 4 {
		t.Errorf("an answer that came in between was overwritten: %+v", b)
	}
	seen := find(t, r, "a")
	later = seen
	later.Expires = noon.Add(time.Hour)
	r.Merge([]Change{{Old: seen, New: later}}, noon)
	if b := find(t, r, "a"); b != later {
		t.Errorf("%+v, want %+v", b, later)
	}
	r.Merge([]Change{{Old: later}}, noon)
	if _, still := r.Snapshot().Find("a"); still {
		t.Error("is still there")
	}
}

// A process that has taken over the address of a late one stands in its place,
// and a late heartbeat of the old one does not bring it back.
func TestMergeReplacesALateProcess(t *testing.T) {
	r := NewRegistry()
	at := netip.MustParseAddrPort("10.0.0.1:10080")
	reg := Registration{Server: "vid-a", Service: "old", PID: "1", SRT: []string{"10080"}}
	if _, err := r.Register(reg, at, noon, time.Second); err != nil {
		t.Fatal(err)
	}
	r.MarkAlive(reg.ID(), 3, noon)
	seen := find(t, r, reg.ID())
	next := sharedAt("vid-a-new-2", at.String())
	next.Registration = &Registration{Server: "vid-a", Service: "new", PID: "2", SRT: []string{"10080"}}
	r.Merge([]Change{{Old: seen, New: next}}, noon.Add(time.Minute))
	if got := r.Snapshot().Backends; len(got) != 1 || got[0].ID != next.ID {
		t.Fatalf("%+v", got)
	}
	if _, err := r.Register(reg, at, noon.Add(time.Minute), time.Second); !errors.Is(err, ErrReplaced) {
		t.Errorf("the old process: %v, want %v", err, ErrReplaced)
	}
}

// However many a store lists, no more than MaxRegistered are known, the
// operator's own come first, and entries that lead nowhere keep nobody out.
func TestMergeIsBounded(t *testing.T) {
	r := NewRegistry()
	var flood []Change
	for i := range MaxRegistered + 1000 {
		flood = append(flood, Change{New: sharedAt(ID(fmt.Sprintf("s-%05d", i)), fmt.Sprintf("10.0.0.1:%d", 1+i))})
	}
	refused := r.Merge(flood, noon)
	if n := len(r.Snapshot().Backends); n != MaxRegistered || len(refused) != 1000 || !errors.Is(refused[0].Err, ErrFull) {
		t.Fatalf("%d backends, %d refused", n, len(refused))
	}
	reg := Registration{Server: "vid-a", Service: "s", PID: "1", SRT: []string{"10080"}}
	if _, err := r.Register(reg, netip.MustParseAddrPort("10.0.0.2:10080"), noon, time.Minute); err != nil {
		t.Errorf("a heartbeat beside a full store: %v", err)
	}
	if n := len(r.Snapshot().Backends); n != MaxRegistered {
		t.Errorf("%d backends", n)
	}
	late := noon.Add(evictAfter)
	alive := r.Snapshot().Backends[7].ID
	r.MarkAlive(alive, 0, noon)
	if refused := r.Merge([]Change{{New: sharedAt("new", "10.0.0.3:1")}}, late); len(refused) != 0 {
		t.Errorf("a new entry waits for those that never answered: %v", refused)
	}
	find(t, r, "new")
	find(t, r, alive)
	find(t, r, reg.ID())
}

func TestMergeOfThousandsIsOneSnapshot(t *testing.T) {
	r := NewRegistry()
	w := r.Watch()
	defer w.Close()
	var all []Change
	for i := range 1000 {
		all = append(all, Change{New: sharedAt(ID(fmt.Sprint(i)), fmt.Sprintf("10.0.0.1:%d", 1+i))})
	}
	before := r.Snapshot()
	r.Merge(all, noon)
	if r.Snapshot() == before || len(w.Collect()) != 1000 {
		t.Error("who watches has not been told of all")
	}
	before = r.Snapshot()
	r.Merge(nil, noon)
	if r.Snapshot() != before {
		t.Error("no change made a snapshot")
	}
}
