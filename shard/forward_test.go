package shard

import (
	"testing"

	"srtrelay/handshake"
	"srtrelay/wire"
)

// A rejection that answers a datagram of the backend leg may come when another of them
// has been accepted, as gosrt's of a stale cookie. It used to be relayed, with
// the backend's address and cookie in it.
func TestLateRejectionOfLegTwoStaysInside(t *testing.T) {
	r := newRig(t)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	late := handshake.AppendRejection(nil, conclusion(callerID, callerISN, backendCookie, 500), handshake.CodeRogue)
	r.reply(upstream, late)
	r.expectNothing(r.caller)
	if r.count(DropDuplicate) != 1 {
		t.Errorf("counters %v", r.nonzero())
	}
	// What the peers say to each other within the session is theirs.
	other := wire.Handshake(handshake.AppendRejection(nil, conclusion(callerID, callerISN+1, 0, 500), handshake.CodeRogue))
	r.reply(upstream, other)
	r.expect(r.caller, wire.HandshakeType(handshake.CodeRogue))
}
