package shard

import (
	"net"
	"testing"
	"time"

	"srtrelay/handshake"
	"srtrelay/wire"
)

// newcomer brings another caller to the backend whose cookie is known.
func (r *rig) newcomer() *net.UDPConn {
	c := r.dialFront()
	r.send(c, conclusion(callerID+1, callerISN+1, r.cookie(c, callerID+1), 1))
	return c
}

func TestKnownCookieSavesAnInduction(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	r.newcomer()
	if h, _ := r.expect(r.backend, wire.HandshakeConclusion); h.Cookie() != backendCookie {
		t.Errorf("cookie %x", h.Cookie())
	}
}

func TestKnownCookieAges(t *testing.T) {
	r := newRig(t, func(c *Config) { c.IdleTimeout = time.Hour })
	r.establish(r.caller, callerID, callerISN, backendID)
	// A session that is set up with the known cookie does not make it younger.
	r.pass(handshake.CookieTTL / 2)
	r.establish(r.dialFront(), callerID+2, callerISN, backendID+2)
	r.pass(handshake.CookieTTL / 2)
	r.newcomer()
	r.expect(r.backend, wire.HandshakeInduction)
}

// libsrt drops a CONCLUSION with a wrong cookie in silence.
func TestSilenceAfterAKnownCookieAsksForAnother(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	r.newcomer()
	r.expect(r.backend, wire.HandshakeConclusion)
	r.pass(handshake.LegRetryInterval + wheelTick)
	h, upstream := r.expect(r.backend, wire.HandshakeInduction)
	r.reply(upstream, handshake.AppendInductionReply(nil, h, backendCookie+1, 0, upstream.Addr()))
	if h, _ := r.expect(r.backend, wire.HandshakeConclusion); h.Cookie() != backendCookie+1 {
		t.Errorf("cookie %x, not the new one", h.Cookie())
	}
}

// gosrt answers it with Rogue, which is not the caller's business.
func TestRefusedCookieIsNotTheCallersBusiness(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	caller := r.newcomer()
	h, upstream := r.expect(r.backend, wire.HandshakeConclusion)
	r.reply(upstream, handshake.AppendRejection(nil, h, handshake.CodeRogue))
	r.expectNothing(caller)
	h, _ = r.expect(r.backend, wire.HandshakeInduction)
	r.reply(upstream, handshake.AppendInductionReply(nil, h, backendCookie+1, 0, upstream.Addr()))
	h, _ = r.expect(r.backend, wire.HandshakeConclusion)
	// The second time it is about the CONCLUSION itself.
	r.reply(upstream, handshake.AppendRejection(nil, h, handshake.CodeRogue))
	r.expect(caller, wire.HandshakeType(handshake.CodeRogue))
}

// A slow backend's response to the first CONCLUSION counts, though the relay
// has begun again meanwhile.
func TestLateResponseToAKnownCookieCounts(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	caller := r.newcomer()
	h, upstream := r.expect(r.backend, wire.HandshakeConclusion)
	r.pass(handshake.LegRetryInterval + wheelTick)
	r.expect(r.backend, wire.HandshakeInduction)
	r.reply(upstream, accept(h, backendID+1))
	if h, _ := r.expect(caller, wire.HandshakeConclusion); h.SocketID() != backendID+1 {
		t.Errorf("connected to %x", h.SocketID())
	}
}
