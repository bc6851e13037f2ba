package relays

import (
	"slices"
	"testing"
)

// handshakeOf is the flow of the CONCLUSIONs of a flow's caller.
func handshakeOf(f Flow) Flow { return Flow{Caller: f.Caller, Listener: f.Listener} }

// conclude passes a CONCLUSION on that bears a number. What comes back is in returned.
func (l *laneTest) conclude(f Flow, n byte, returned *[]byte) Outcome {
	b := make([]byte, 64)
	b[0] = n
	return l.PassConclusion(l.now, f, here, b, func(b []byte) { *returned = append(*returned, b[0]) })
}

func TestConclusionsAreHeldForTheirOwner(t *testing.T) {
	l, f := newLaneTest(t), handshakeOf(flow(1))
	var returned []byte
	for n := range byte(2) {
		l.want("first ones", l.conclude(f, n, &returned), OutcomeHeld)
	}
	if all := l.questions(); len(all) != 1 || all[0] != f {
		t.Fatalf("asked %v", all)
	}
	l.answer(l.now, f, Owner{At: owner, Exact: true}, nil)
	l.want("a copy", l.conclude(f, 2, &returned), OutcomePassed)
	if got := l.sent(owner); string(got) != "\x00\x01\x02" || len(returned) != 0 {
		t.Errorf("sent %v, returned %v", got, returned)
	}
	// What the caller sends next is of the session, which is not published yet.
	l.want("the first data", l.pass(flow(1), 3), OutcomePassed)
	if got := l.sent(owner); string(got) != "\x03" || len(l.questions()) != 0 {
		t.Errorf("sent %v", got)
	}
	l.now += noneTTL
	l.want("later data", l.pass(flow(1), 4), OutcomePassed)
	if all := l.questions(); len(all) != 1 || all[0] != flow(1) {
		t.Errorf("asked %v", all)
	}
}

// A relay that has taken a CONCLUSION and answers none may be dead: another one takes it then.
func TestConclusionsOfADeadRelay(t *testing.T) {
	l, f := newLaneTest(t), handshakeOf(flow(1))
	var returned []byte
	l.conclude(f, 0, &returned)
	l.questions()
	l.answer(l.now, f, Owner{At: owner, Exact: true}, nil)
	l.now += conclusionTTL
	l.want("later", l.conclude(f, 1, &returned), OutcomeUnknown)
	if n := len(l.questions()); n != 0 {
		t.Errorf("asked %d times", n)
	}
	l.now += conclusionRest
	l.want("another handshake from there", l.conclude(f, 2, &returned), OutcomeHeld)
	l.answer(l.now, f, Owner{}, nil)
	if !slices.Equal(returned, []byte{2}) {
		t.Errorf("returned %v", returned)
	}
}

// A CONCLUSION that no other relay has taken comes back, also if Redis is away, and may be passed
// on again at once.
func TestConclusionsOfNobodyComeBack(t *testing.T) {
	for name, err := range map[string]error{"nobody": nil, "away": errAway} {
		l, f := newLaneTest(t), handshakeOf(flow(1))
		var returned []byte
		again := OutcomeHeld
		l.PassConclusion(l.now, f, here, make([]byte, 64), func(b []byte) {
			again = l.PassConclusion(l.now, f, here, b, nil)
		})
		l.conclude(f, 7, &returned)
		l.answer(l.now, f, Owner{}, err)
		l.want(name, again, OutcomeUnknown)
		if !slices.Equal(returned, []byte{7}) || l.link.Stats()[DropUnowned] != 0 || l.heldAll != 0 || len(l.pending) != 0 {
			t.Errorf("%s: returned %v, dropped %d", name, returned, l.link.Stats()[DropUnowned])
		}
		l.now += noneTTL
		l.want(name+", later", l.conclude(f, 8, &returned), OutcomeHeld)
	}
}

// A question about CONCLUSIONs that is never answered holds nothing for ever.
func TestConclusionsWithoutAnswer(t *testing.T) {
	l, f := newLaneTest(t), handshakeOf(flow(1))
	var returned []byte
	l.conclude(f, 0, &returned)
	l.now += answerTimeout
	l.want("again", l.conclude(f, 1, &returned), OutcomeHeld)
	if l.heldAll != 1 || l.link.Stats()[DropUnowned] != 1 || len(returned) != 0 {
		t.Errorf("holds %d, returned %v", l.heldAll, returned)
	}
}
