package relays

import (
	"errors"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/wire"
)

var errAway = errors.New("away")

// laneTest is a lane whose questions the test answers.
type laneTest struct {
	*Lane
	t   *testing.T
	now time.Duration
}

func newLaneTest(t *testing.T) *laneTest {
	return &laneTest{newLane(New(Options{}), nil), t, time.Second}
}

func flow(n int) Flow {
	f := Flow{Caller: caller4, Listener: 20080, ID: 77}
	f.Caller.IP[15], f.Caller.IP[14] = byte(n), byte(n>>8)
	return f
}

// pass passes a datagram that bears a number on.
func (l *laneTest) pass(f Flow, n byte) Outcome {
	b := make([]byte, wire.HeaderSize)
	b[0] = n
	return l.Pass(l.now, f, here, b)
}

// questions returns what has been asked.
func (l *laneTest) questions() (all []Flow) {
	for {
		select {
		case q := <-l.link.questions:
			all = append(all, q.flow)
		default:
			return all
		}
	}
}

// sent returns the first byte of each datagram that is to be sent to an owner.
func (l *laneTest) sent(owner addr.AddrPort) (all []byte) {
	for s := l.ring.first(); s != nil; s = l.ring.first() {
		if s.owner != owner {
			l.t.Errorf("sent to %v, its owner is %v", s.owner, owner)
		}
		all = append(all, s.bytes[targetSize+headSize])
		l.ring.pop()
	}
	return all
}

func (l *laneTest) want(what string, got, want Outcome) {
	l.t.Helper()
	if got != want {
		l.t.Errorf("%s: outcome %d, want %d", what, got, want)
	}
}

func TestHeldUntilTheOwnerIsKnown(t *testing.T) {
	l := newLaneTest(t)
	for n := range byte(3) {
		l.want("first ones", l.pass(flow(1), n), OutcomeHeld)
	}
	if all := l.questions(); len(all) != 1 || all[0] != flow(1) {
		t.Fatalf("asked %v", all)
	}
	l.answer(l.now, flow(1), Owner{At: owner, Exact: true}, nil)
	l.want("then", l.pass(flow(1), 3), OutcomePassed)
	if got := l.sent(owner); string(got) != "\x00\x01\x02\x03" {
		t.Errorf("sent %v", got)
	}
	if l.heldAll != 0 || len(l.pending) != 0 || len(l.questions()) != 0 {
		t.Error("something is held still")
	}
}

func TestNobodyHasIt(t *testing.T) {
	l := newLaneTest(t)
	l.want("first", l.pass(flow(1), 0), OutcomeHeld)
	l.questions()
	l.answer(l.now, flow(1), Owner{}, nil)
	if l.link.Stats()[DropUnowned] != 1 {
		t.Error("what was held is not counted")
	}
	l.want("after the answer", l.pass(flow(1), 0), OutcomeUnknown)
	l.now += noneTTL
	l.want("later", l.pass(flow(1), 0), OutcomeHeld)
	if len(l.questions()) != 1 {
		t.Error("not asked again")
	}
}

// A known owner goes on while Redis is away, and while it has lost its data.
func TestKnownOwnersGoOn(t *testing.T) {
	l := newLaneTest(t)
	l.pass(flow(1), 0)
	l.answer(l.now, flow(1), Owner{At: owner, Exact: true}, nil)
	for range 100 {
		l.now += ownerTTL
		l.want("away", l.pass(flow(1), 0), OutcomePassed)
		for _, f := range l.questions() {
			l.answer(l.now, f, Owner{}, errAway)
		}
		l.sent(owner)
	}
	l.now += ownerTTL
	l.pass(flow(1), 0)
	l.answer(l.now, flow(1), Owner{}, nil)
	l.want("not found once", l.pass(flow(1), 0), OutcomePassed)
	l.answer(l.now, flow(1), Owner{At: owner, Exact: true}, nil)
	l.answer(l.now, flow(1), Owner{}, nil)
	l.want("not found once again", l.pass(flow(1), 0), OutcomePassed)
	l.answer(l.now, flow(1), Owner{}, nil)
	l.want("not found twice", l.pass(flow(1), 0), OutcomeUnknown)
}

// A flow that moves while Redis is away is asked for twice a second, however much comes of it, and
// has its owner that soon after Redis is back.
func TestFlowThatMovesWhileRedisIsAway(t *testing.T) {
	l, asked := newLaneTest(t), 0
	const away = time.Minute
	back, found := l.now+away, time.Duration(0)
	for found == 0 && l.now < back+time.Minute {
		l.now += time.Millisecond
		if l.pass(flow(1), 0) == OutcomePassed {
			found = l.now
		}
		for _, f := range l.questions() {
			if l.now >= back {
				l.answer(l.now, f, Owner{At: owner, Exact: true}, nil)
				continue
			}
			asked++
			l.answer(l.now, f, Owner{}, errAway)
		}
		if len(l.pending) > 0 || l.heldAll > 0 {
			t.Fatal("something is held although the question is answered")
		}
	}
	if most := int(away/awayTTL) + 1; asked > most {
		t.Errorf("asked %d times while Redis is away, %d at most", asked, most)
	}
	if found == 0 || found-back > awayTTL+2*time.Millisecond {
		t.Errorf("passed on %v after Redis is back", found-back)
	}
}

func TestAnOwnerThatIsUsedIsAskedForAgain(t *testing.T) {
	l := newLaneTest(t)
	l.pass(flow(1), 0)
	l.answer(l.now, flow(1), Owner{At: owner, Exact: true}, nil)
	l.questions()
	l.now += ownerTTL
	for range 10 {
		l.want("used meanwhile", l.pass(flow(1), 0), OutcomePassed)
	}
	if n := len(l.questions()); n != 1 {
		t.Errorf("asked %d times", n)
	}
	l.answer(l.now, flow(1), Owner{At: other, Exact: true}, nil)
	l.sent(owner)
	l.pass(flow(1), 5)
	if got := l.sent(other); string(got) != "\x05" {
		t.Errorf("sent %v to the new owner", got)
	}
}

// A question whose answer is lost is asked again.
func TestLostAnswers(t *testing.T) {
	l := newLaneTest(t)
	l.pass(flow(1), 0)
	l.questions()
	l.now += answerTimeout
	l.want("later", l.pass(flow(1), 1), OutcomeHeld)
	if len(l.questions()) != 1 || l.link.Stats()[DropUnowned] != 1 || l.heldAll != 1 {
		t.Error("not asked again")
	}
}

// Whatever arrives, a lane holds and knows no more than its bounds, and a flood leaves
// known owners alone.
func TestFloodOfForeignDatagrams(t *testing.T) {
	l := newLaneTest(t)
	l.pass(flow(1), 0)
	l.answer(l.now, flow(1), Owner{At: owner, Exact: true}, nil)
	l.questions()
	asked, limited := 0, 0
	for n := range 1_000_000 {
		if n%1000 == 0 {
			l.now += time.Millisecond
		}
		f := Flow{Caller: caller6, Listener: 20080, ID: uint32(n)}
		f.Caller.IP[0], f.Caller.IP[7] = byte(n), byte(n>>8) // many networks
		switch l.pass(f, 0) {
		case OutcomeLimited:
			limited++
		case OutcomePassed, OutcomeUnknown:
			t.Fatal("passed on, or known")
		}
		for _, q := range l.questions() {
			asked++
			l.answer(l.now, q, Owner{}, nil)
		}
	}
	if asked > askBurst+askRate*11/10 || asked < askRate/2 {
		t.Errorf("%d questions in a second, of %d datagrams %d limited", asked, 1_000_000, limited)
	}
	if len(l.known) > maxKnown || l.heldAll > maxHeld || len(l.free) > maxHeld {
		t.Errorf("knows %d, holds %d", len(l.known), l.heldAll)
	}
	l.want("an owner that is known", l.pass(flow(1), 0), OutcomePassed)
}

// One source may ask half of all questions.
func TestOneSourceLeavesOthersTheirPart(t *testing.T) {
	l := newLaneTest(t)
	f := flow(1)
	for n := range uint32(4 * askBurst) {
		f.ID = n
		l.pass(f, 0)
	}
	if n := len(l.questions()); n > sourceAskBurst {
		t.Errorf("one source asks %d times", n)
	}
	l.dropLate(l.now + answerTimeout)
	l.want("another source", l.pass(flow(2), 0), OutcomeHeld)
}

func TestLanesAreBounded(t *testing.T) {
	l := newLaneTest(t)
	for n := range maxKnown + 1000 {
		o := Owner{}
		if n < 10 {
			o = Owner{At: owner, Exact: true}
		}
		f := flow(n)
		f.ID = uint32(n)
		l.answer(l.now, f, o, nil)
	}
	if len(l.known) != maxKnown {
		t.Errorf("knows %d", len(l.known))
	}
	for n := range 10 {
		f := flow(n)
		f.ID = uint32(n)
		if _, has := l.known[f]; !has {
			t.Errorf("forgot an owner while it knew flows without")
		}
	}
}

// The owner of a session with another caller gets a trickle only, which it may move the
// session by.
func TestAnotherCallersSession(t *testing.T) {
	l := newLaneTest(t)
	l.pass(flow(1), 0)
	l.answer(l.now, flow(1), Owner{At: owner}, nil)
	l.questions()
	passed := 0
	for range 10 * otherCallerBurst {
		if l.pass(flow(1), 0) == OutcomePassed {
			passed++
			l.ring.pop()
		}
	}
	if passed == 0 || passed > otherCallerBurst {
		t.Errorf("%d passed on", passed)
	}
	l.now += otherCallerTTL
	l.pass(flow(1), 0)
	if len(l.questions()) != 1 {
		t.Error("not asked again soon")
	}
}

// The bug: when a session had moved to a flow's address, its relay was asked for again a second
// after the first question, and until then the flow got no more than the trickle.
func TestAnotherCallersSessionThatMoves(t *testing.T) {
	l := newLaneTest(t)
	found, limited := Owner{At: owner}, 0
	const spacing, moves = 200 * time.Microsecond, 250 * time.Millisecond
	for at := time.Duration(0); at < time.Second; at += spacing {
		l.now += spacing
		if at == moves {
			found.Exact = true
		}
		if l.pass(flow(1), 0) == OutcomeLimited && at > moves+150*time.Millisecond {
			limited++
		}
		l.sent(owner)
		for _, f := range l.questions() {
			l.answer(l.now, f, found, nil)
		}
	}
	if limited > 0 {
		t.Errorf("%d datagrams are limited after the session has moved", limited)
	}
}

// A flow whose session does not move is not asked for so often for ever.
func TestAnotherCallersSessionThatStays(t *testing.T) {
	l, asked := newLaneTest(t), 0
	const lasting = 20 * time.Second
	for range lasting / time.Millisecond {
		l.now += time.Millisecond
		l.pass(flow(1), 0)
		l.sent(owner)
		for _, f := range l.questions() {
			asked++
			l.answer(l.now, f, Owner{At: owner}, nil)
		}
	}
	if most := otherCallerSoon + int(lasting/time.Second) + 1; asked > most || asked < int(lasting/time.Second) {
		t.Errorf("asked %d times, %d at most", asked, most)
	}
}

func TestLinkLocalAndLongDatagramsStay(t *testing.T) {
	l := newLaneTest(t)
	f := flow(1)
	f.Caller.Zone = 2
	l.want("link-local", l.pass(f, 0), OutcomeUnknown)
	l.want("long", l.Pass(l.now, flow(1), here, make([]byte, maxData+1)), OutcomeUnknown)
	if len(l.questions()) != 0 {
		t.Error("asked")
	}
}

func TestPassingOnDoesNotAllocate(t *testing.T) {
	l := newLaneTest(t)
	l.pass(flow(1), 0)
	l.answer(l.now, flow(1), Owner{At: owner, Exact: true}, nil)
	b := make([]byte, 1316)
	n := testing.AllocsPerRun(1000, func() {
		if l.Pass(l.now, flow(1), here, b) == OutcomePassed {
			l.ring.pop()
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPass(b *testing.B) {
	l := newLane(New(Options{}), nil)
	now := time.Second
	l.answer(now, flow(1), Owner{At: owner, Exact: true}, nil)
	data := make([]byte, 1316)
	b.ReportAllocs()
	for b.Loop() {
		now += 100 * time.Microsecond
		if l.Pass(now, flow(1), here, data) == OutcomePassed {
			l.ring.pop()
		}
	}
}

// A lane that waits for as many flows as it can does not look through all of them for each
// datagram of another one: that would take a loop's whole time in a flood.
func TestFullLaneSeldomLooksForLateFlows(t *testing.T) {
	l := newLaneTest(t)
	for n := range maxPending { // no question is answered
		l.now += time.Second / askRate
		l.pass(flow(n), 1)
		l.questions()
	}
	another := flow(maxPending)
	if o := l.pass(another, 1); len(l.pending) != maxPending || o != OutcomeLimited {
		t.Fatalf("outcome %d with %d pending", o, len(l.pending))
	}
	for _, p := range l.pending {
		p.asked = l.now - answerTimeout
	}
	if o := l.pass(another, 1); o != OutcomeLimited {
		t.Errorf("outcome %d: looked again at once", o)
	}
	l.now += lateEvery
	if o := l.pass(another, 1); o != OutcomeHeld || len(l.pending) != 1 {
		t.Errorf("outcome %d with %d pending", o, len(l.pending))
	}
}
