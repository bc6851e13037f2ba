package shard

import (
	"testing"
	"time"

	"srtrelay/wire"
)

// Running sessions go first: of a batch that has both, their datagrams leave
// before any handshake is looked at, and keep their order.
func TestSessionsGoBeforeHandshakes(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	other := r.dialFront()
	cookie := r.cookie(other, callerID+1)
	must(t, other, conclusion(callerID+1, callerISN, cookie, 1))
	for size := 100; size < 105; size++ {
		must(t, r.caller, packet(backendID, size))
	}
	r.settle()
	for size := 100; size < 105; size++ {
		if b, _ := r.receive(r.backend); len(b) != size {
			t.Fatalf("%d bytes, want %d before the handshake", len(b), size)
		}
	}
	r.expect(r.backend, wire.HandshakeConclusion)
}

// What is left of a loop's time bounds what handshakes may take of it, and one
// source gets half.
func TestHandshakeBudget(t *testing.T) {
	var b budget
	now := time.Second
	turn := func(worked, idle time.Duration, bytes uint64) {
		if idle > 0 {
			b.waits(now + worked)
		}
		now += worked + idle
		b.begin(now, b.bytes+bytes, b.opened)
	}
	taken := func(hash uint64) (n int) {
		for n = 0; n < 1e5 && b.allow(hash, conclusionCost); n++ {
		}
		return n
	}
	turn(time.Second, 0, 0)
	if n := taken(1); n != 1e5 {
		t.Errorf("%d handshakes without sessions, want no bound", n)
	}
	turn(judgeEvery, 0, 1e6)
	half := int(sourceBurst / conclusionCost)
	if n := taken(1); n != half {
		t.Errorf("%d handshakes of one source, want %d", n, half)
	}
	if n := taken(2); n < half-1 || n > half+1 {
		t.Errorf("%d handshakes of another source, want %d", n, half)
	}
	if n := taken(3); n > 1 {
		t.Errorf("%d handshakes when all is spent", n)
	}
	// A loop without rest leaves a quarter, one that waits the rest as well.
	for _, c := range []struct{ worked, idle, want time.Duration }{
		{60 * time.Millisecond, 0, 15 * time.Millisecond},
		{40 * time.Millisecond, 40 * time.Millisecond, 50 * time.Millisecond},
	} {
		b.left, b.bySource = 0, [budgetSlots]time.Duration{}
		turn(c.worked, c.idle, 1e6)
		if n, want := taken(4), int(c.want/conclusionCost); n < want-1 || n > want+1 {
			t.Errorf("worked %v, idle %v: %d handshakes, want %d", c.worked, c.idle, n, want)
		}
	}
}

// Above the budget a handshake is dropped before it is parsed, kept or
// resolved, without an allocation.
func TestHandshakesBeyondTheBudgetCostNothing(t *testing.T) {
	r := newRig(t)
	cookie := r.cookie(r.caller, callerID)
	flood := conclusion(callerID, callerISN, cookie, 1)
	induction := r.induct(5, 5)
	r.pass(time.Second)
	// Held by hand: sessions carry media, and there is no time.
	spent := func() {
		r.admission.budget.media, r.admission.budget.left, r.admission.budget.judged = true, 0, r.now+time.Hour
	}
	spent()
	allocations := testing.AllocsPerRun(100, func() {
		r.admission.budget.left = -time.Hour
		must(t, r.caller, flood)
		must(t, r.caller, induction)
		r.turn()
	})
	if allocations != 0 {
		t.Errorf("%v allocations per turn", allocations)
	}
	if r.count(DropHandshakeBudget) < 101 || r.count(CountHandshakes) != 0 || len(r.balancer.asked) != 0 {
		t.Errorf("counters %v", r.nonzero())
	}
	// A repetition finds its time.
	r.admission.budget.media = false
	r.send(r.caller, flood)
	if r.count(CountHandshakes) != 1 {
		t.Errorf("counters %v", r.nonzero())
	}
}

// A flood of INDUCTIONs while no session carries media owes nothing once one does.
func TestFloodWithoutMediaOwesNothing(t *testing.T) {
	r := newRig(t)
	b := &r.admission.budget
	b.media = false
	for range 1_000_000 {
		if !r.admission.affordsInduction(fromConn(r.caller).IP) {
			t.Fatal("refused without media")
		}
	}
	b.media, b.judged = true, r.now
	b.at = r.now
	b.begin(r.now+judgeEvery/2, b.bytes, b.opened)
	if !r.admission.affordsInduction(fromConn(r.caller).IP) {
		t.Errorf("refused, with %v left for INDUCTIONs", b.inductions)
	}
}
