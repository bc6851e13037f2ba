package handshake

import (
	"bytes"
	"net/netip"
	"testing"

	"srtrelay/wire"
)

const relayCookie = 0x7e1a7001 // the one that the relay gave the caller

// acceptedWith plays a leg to the backend's response, and returns what the
// caller gets.
func acceptedWith(t *testing.T, caller netip.Addr, asked *Request, sent, response wire.Handshake) wire.Handshake {
	t.Helper()
	l := &leg{T: t}
	l.x.Open(opened, sent, caller)
	t.Cleanup(l.x.Close)
	if asked != nil {
		l.x.SetOriginal(*asked)
	}
	l.conclude(opened)
	l.reply(opened, response, OutcomeAnswered)
	l.phase(PhaseConnected)
	return wire.Handshake(bytes.Clone(l.replay().Answer(opened)))
}

// A libsrt listener echoes the cookie of the request, which is the one that it
// gave the relay for all callers; gosrt's sends 0. It used to reach callers.
func TestCallerGetsItsOwnCookieBack(t *testing.T) {
	sent := func() wire.Handshake {
		return changed(conclusion(5, hsreq, sid("live/x")), func(h wire.Handshake) { h.SetCookie(relayCookie) })
	}
	for _, cookie := range []uint32{backendCookie, 0} {
		for _, caller := range []netip.Addr{caller4, caller6} {
			answer := changed(response(), func(h wire.Handshake) { h.SetCookie(cookie) })
			got := acceptedWith(t, caller, nil, sent(), answer)
			want := changed(response(), func(h wire.Handshake) { h.SetCookie(relayCookie); h.SetPeerIP(caller) })
			if !bytes.Equal(got, want) {
				t.Errorf("cookie %x, caller %v:\n got % x\nwant % x", cookie, caller, got, want)
			}
		}
	}
}

// A gosrt listener sends the stream ID back. What the rules made of it, with
// the address or the token that they put in, is the backend's to know.
func TestCallerGetsItsOwnStreamIDBack(t *testing.T) {
	const ruled = "#!::r=live/inside,m=publish,caller=192.0.2.1"
	hsrsp := wire.AppendFeatures(nil, wire.BlockHSRsp, wire.Features{Version: 0x010503, Flags: 0xbf})
	km := wire.AppendBlock(nil, wire.BlockKMRsp, bytes.Repeat([]byte("k"), 56))
	answer := func(flags uint16, blocks ...[]byte) wire.Handshake {
		return changed(conclusion(flags, blocks...), func(h wire.Handshake) {
			h.SetSocketID(backendID)
			h.Packet().SetDestID(callerID)
		})
	}
	for name, c := range map[string]struct {
		asked string
		got   wire.Handshake
		want  wire.Handshake
	}{
		"its own":      {"live/x", answer(7, hsrsp, km, sid(ruled)), answer(7, hsrsp, km, sid("live/x"))},
		"none sent":    {"", answer(7, hsrsp, sid(ruled), km), answer(3, hsrsp, km)},
		"none echoed":  {"live/x", answer(3, hsrsp, km), answer(3, hsrsp, km)},
		"hidden":       {"live/x", answer(1, hsrsp, sid(ruled)), answer(5, hsrsp, sid("live/x"))},
		"odd bytes":    {"live/x", answer(5, hsrsp, sid(ruled), []byte{1, 2}), answer(5, hsrsp, sid("live/x"))},
		"not sendable": {"a\x00b", answer(5, hsrsp, sid(ruled)), answer(1, hsrsp)},
	} {
		t.Run(name, func(t *testing.T) {
			asked := &Request{CallerID: callerID, ISN: callerISN, StreamID: c.asked}
			got := acceptedWith(t, caller4, asked, conclusion(5, hsreq, sid(ruled)), c.got)
			want := changed(c.want, func(h wire.Handshake) { h.SetPeerIP(caller4) })
			if !bytes.Equal(got, want) {
				t.Errorf("\n got % x\nwant % x", got, want)
			}
			if bytes.Contains(got, []byte("sni/")) {
				t.Error("the caller sees what the rules made")
			}
		})
	}
}
