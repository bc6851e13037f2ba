package shard

import (
	"testing"
	"time"

	"srtrelay/handshake"
	"srtrelay/wire"
)

// induct builds an INDUCTION of the rig's caller, with a new process's ISN.
func (r *rig) induct(isn, timestamp uint32) []byte {
	b := handshake.AppendInduction(nil, callerID, handshake.Nonce(isn), r.front.Addr())
	wire.Packet(b).SetTimestamp(timestamp)
	return b
}

// The bug: a caller that crashed and came back with its port and socket ID got
// no INDUCTION reply until its old session had been idle for 30 s.
func TestReturningCallerReplacesItsSession(t *testing.T) {
	r := newRig(t)
	r.pass(time.Second)
	r.establish(r.caller, callerID, callerISN, backendID)
	r.pass(400 * time.Millisecond)
	r.send(r.caller, r.induct(0, 7)) // gosrt: ISN 0, and it asks once
	r.expectNothing(r.caller)
	r.pass(callerAliveFor - 500*time.Millisecond)
	r.expectNothing(r.caller)
	r.pass(200 * time.Millisecond)
	h, _ := r.expect(r.caller, wire.HandshakeInduction)
	r.send(r.caller, conclusion(callerID, callerISN+1, h.Cookie(), 9))
	r.expectShutdown(r.backend, backendID)
	leg, upstream := r.answerInduction()
	r.reply(upstream, accept(leg, backendID+1))
	if h, _ := r.expect(r.caller, wire.HandshakeConclusion); h.SocketID() != backendID+1 {
		t.Errorf("response with socket ID %x", h.SocketID())
	}
	r.expectNothing(r.caller) // no SHUTDOWN: the ID is the new session's
	for len(r.events) > 0 {
		if e := <-r.events; e.Kind == EventSessionEnded && e.Cause != CauseReplaced {
			t.Errorf("the old session ended by %v", e.Cause)
		}
	}
	r.pass(tombstoneTTL + time.Second)
	if r.sessions.live != 1 {
		t.Errorf("%d sessions", r.sessions.live)
	}
}

// The bug: a caller whose last datagram came in the same turn as the INDUCTION after its
// crash got no reply, as on a shard that was late.
func TestReturningCallerInTheTurnOfItsLastDatagram(t *testing.T) {
	r := newRig(t)
	r.pass(time.Second)
	r.establish(r.caller, callerID, callerISN, backendID)
	r.pass(400 * time.Millisecond)
	if _, err := r.caller.Write(packet(backendID, 100)); err != nil {
		t.Fatal(err)
	}
	r.send(r.caller, r.induct(0, 7))
	r.pass(callerAliveFor + 200*time.Millisecond)
	r.expect(r.caller, wire.HandshakeInduction)
}

// A caller that retries gets its answer as soon as the silence is long enough.
func TestReturningCallerThatRetries(t *testing.T) {
	r := newRig(t)
	r.pass(time.Second)
	r.establish(r.caller, callerID, callerISN, backendID)
	answered := -1
	for k := range 10 {
		r.pass(handshake.LegRetryInterval)
		r.send(r.caller, r.induct(77, uint32(1+k)*250_000))
		if b, _ := r.receive(r.caller); b != nil {
			answered = k
			break
		}
	}
	if answered < 4 || answered > 6 {
		t.Errorf("answered at retry %d", answered)
	}
}

// A live session's caller must not hear of INDUCTIONs that bear its address,
// late copies as well as forged ones: they would set it quarrelling, and a
// gosrt caller would change its key.
func TestForgedInductionDisturbsNoSession(t *testing.T) {
	r := newRig(t)
	r.pass(time.Second)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	for k := range 20 {
		r.pass(700 * time.Millisecond)
		r.reply(upstream, packet(callerID, 100))
		r.receive(r.caller)
		for isn := range uint32(5) {
			r.send(r.caller, r.induct(isn, uint32(k)<<8|isn))
		}
		r.send(r.caller, packet(backendID, 100))
	}
	if n := r.count(CountInductions); n != 1 {
		t.Errorf("%d INDUCTION replies, want the first one's alone", n)
	}
	if n := r.count(DropDuplicate); n != 100 {
		t.Errorf("%d duplicates, want 100", n)
	}
	// The last one of a caller that says nothing else is libsrt's own copy.
	r.send(r.caller, packet(backendID, 100))
	r.pass(100 * time.Millisecond)
	r.send(r.caller, r.induct(callerISN, 1<<20))
	r.pass(2 * callerAliveFor)
	r.expectNothing(r.caller)
	// Without a cookie nothing is ended.
	r.send(r.caller, conclusion(callerID, callerISN+1, 12345, 9))
	if _, ss := r.sessions.byCaller(0, &r.sessions.at(0).caller, callerID); ss == nil || ss.state != StateEstablished {
		t.Error("the session is gone")
	}
}
