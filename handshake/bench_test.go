package handshake

import (
	"net/netip"
	"testing"

	"srtrelay/addr"
	"srtrelay/wire"
)

// What an INDUCTION costs, which anybody may send: a cookie and the answer.
func BenchmarkInductionReply(b *testing.B) {
	b.ReportAllocs()
	cookies, from := NewCookieGenerator(Secret{1}), addr.From(netip.AddrPortFrom(caller4, 40000))
	req := wire.Handshake(AppendInduction(nil, callerID, nonce, backend4))
	room := make([]byte, 0, wire.MaxPayload)
	for b.Loop() {
		AppendInductionReply(room, req, cookies.Generate(opened, from), 2, caller4)
	}
}

// What a forged CONCLUSION costs: two hashes, of this epoch and the last.
func BenchmarkForgedCookie(b *testing.B) {
	b.ReportAllocs()
	cookies, from := NewCookieGenerator(Secret{1}), addr.From(netip.AddrPortFrom(caller4, 40000))
	forged := cookies.Generate(opened, from) + 1
	for b.Loop() {
		if cookies.Check(opened, from, forged) {
			b.Fatal("accepted")
		}
	}
}

// What is read of a CONCLUSION with a good cookie.
func BenchmarkConclusion(b *testing.B) {
	b.ReportAllocs()
	h := conclusion(5, hsreq, sid("#!::h=video.example,r=live/football,m=publish,token=b7c2"))
	for b.Loop() {
		if _, code := ParseConclusion(h); code != CodeNone {
			b.Fatal(code)
		}
	}
}

// A whole backend leg: what is kept of the caller, INDUCTION and CONCLUSION
// towards the backend, and its answer.
func BenchmarkBackendLeg(b *testing.B) {
	for name, known := range map[string]bool{"cookie known": true, "cookie asked for": false} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			asked, inducted, response := conclusion(5, hsreq, sid("live/x")), inducted(), response()
			room := make([]byte, 0, wire.MaxPayload)
			var x BackendLeg
			for b.Loop() {
				x.Open(opened, asked, caller4)
				if known {
					x.DialKnown(opened, backend4, nonce, backendCookie)
					x.Tick(opened, room)
				} else {
					x.Dial(opened, backend4, nonce)
					x.Tick(opened, room)
					x.Reply(opened, inducted, room)
				}
				if _, outcome := x.Reply(opened, response, room); outcome != OutcomeAnswered {
					b.Fatalf("outcome %d in phase %d", outcome, x.Phase())
				}
				x.Replay().Close()
				x.Close()
			}
		})
	}
}
