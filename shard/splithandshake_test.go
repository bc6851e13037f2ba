package shard

import (
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/handshake"
	"srtrelay/shard/relays"
	"srtrelay/wire"
)

// A CONCLUSION whose INDUCTION another relay has answered may repeat one that it has taken: it
// gets it. One whose INDUCTION came here is this relay's, whatever Redis says.
func TestConclusionOfAnotherRelay(t *testing.T) {
	r := newPassing(t, &relays.Owner{At: addr.From(addrOf(newRig(t).caller)), Exact: true})
	here, elsewhere := r.dialFront(), r.dialFront()
	r.establish(here, callerID, callerISN, backendID)
	asked := r.cfg.Relays.Stats()[relays.CountLookups]

	cookie := r.admission.cookies.Generate(r.now, fromConn(elsewhere))
	r.send(elsewhere, conclusion(callerID, callerISN, cookie, 500))
	r.answer()
	r.send(elsewhere, conclusion(callerID, callerISN, cookie, 750))
	r.counters.publish()
	if asked != 0 || r.count(CountHandshakes) != 1 || r.count(CountParked) != 2 || r.count(CountPassedOn) != 1 {
		t.Errorf("asked %d times before; counters %v", asked, r.nonzero())
	}
	// The other relay has died with it.
	r.pass(time.Second)
	r.send(elsewhere, conclusion(callerID, callerISN, cookie, 1000))
	r.answerInduction()
	r.counters.publish()
	if r.count(CountHandshakes) != 2 {
		t.Errorf("no handshake here after all: %v", r.nonzero())
	}
}

// A CONCLUSION whose INDUCTION another relay has answered is taken here if no other relay has
// taken it, and also while Redis is away: without being sent again, which gosrt's callers never do.
func TestConclusionOfNoOtherRelay(t *testing.T) {
	for name, owner := range map[string]*relays.Owner{"nobody": {}, "away": nil} {
		t.Run(name, func(t *testing.T) {
			r := newPassing(t, owner)
			r.send(r.caller, conclusion(callerID, callerISN, r.admission.cookies.Generate(r.now, fromConn(r.caller)), 500))
			r.expectNothing(r.backend)
			r.answer()
			r.settle()
			h, upstream := r.answerInduction()
			r.reply(upstream, accept(h, backendID))
			r.expect(r.caller, wire.HandshakeConclusion)
			r.counters.publish()
			if r.count(CountEstablished) != 1 || r.count(CountParked) != 1 || r.cfg.Relays.Stats()[relays.DropUnowned] != 0 {
				t.Errorf("counters %v, %v", r.nonzero(), r.cfg.Relays.Stats())
			}
			r.lastEvent(EventHandshakeBegun)
		})
	}
}

// A repeated CONCLUSION that another relay passes on is answered by the shard that has taken the
// first one, and is nothing to the others.
func TestConclusionFromAnotherRelay(t *testing.T) {
	p := newShardPair(t)
	repeat := func(id, isn, timestamp uint32) Delivery {
		d := p.owner.Deliver(0, fromConn(p.caller), addr.IP{}, conclusion(id, isn, 0, timestamp))
		p.settleBoth()
		return d
	}
	for name, strange := range map[string][2]uint32{"another socket ID": {callerID + 1, callerISN}, "another attempt": {callerID, callerISN + 1}} {
		if repeat(strange[0], strange[1], 1000) != Delivered {
			t.Errorf("%s: not delivered", name)
		}
		p.expectNothing(p.caller)
	}
	if repeat(callerID, callerISN, 1000) != Delivered {
		t.Error("not delivered")
	}
	if h, _ := p.expect(p.caller, wire.HandshakeConclusion); h.SocketID() != backendID {
		t.Errorf("the answer has the ID %x", h.SocketID())
	}
	if d := p.owner.Deliver(0, fromConn(p.caller), addr.IP{}, handshake.AppendInduction(nil, callerID, 1, p.front.Addr())); d != NotSession {
		t.Errorf("an INDUCTION: %v", d)
	}
	p.wantLaw()
}
