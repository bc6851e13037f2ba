package srt

import (
	"net/netip"
	"testing"
	"time"

	"srtrelay/streamid"
	"srtrelay/streamid/rules"

	"srtrelay/handshake"
	"srtrelay/wire"
)

var peer = netip.MustParseAddr("10.77.0.2")

// The product reads our CONCLUSION as one that a caller means.
func TestConclusionIsWhatTheRelayReads(t *testing.T) {
	const id = "#!::r=bench/s17,m=publish"
	b := AppendConclusion(nil, 0x1234, 77, 0xc00c1e, peer, id)
	h, ok := wire.AsHandshake(b)
	if !ok || !handshake.Valid(h) || h.Cookie() != 0xc00c1e || h.PeerIP() != peer {
		t.Fatalf("not plausible: % x", b)
	}
	req, code := handshake.ParseConclusion(h)
	if code != handshake.CodeNone || req.StreamID != id || req.CallerID != 0x1234 || req.ISN != 77 {
		t.Errorf("read as %+v, code %v", req, code)
	}
	if got := StreamIDOf(h); got != id {
		t.Errorf("we read %q", got)
	}
}

func TestInductionAndReply(t *testing.T) {
	h := wire.Handshake(AppendInduction(nil, 0x1234, 77, peer))
	if h.Type() != wire.HandshakeInduction || h.Version() != 4 || h.SocketID() != 0x1234 || h.ISN() != 77 || h.Packet().DestID() != 0 {
		t.Errorf("% x", []byte(h))
	}
	r := wire.Handshake(handshake.AppendInductionReply(nil, h, 5, 0, peer))
	if !handshake.IsInductionReply(r, 77) {
		t.Errorf("% x", []byte(r))
	}
}

func TestResponse(t *testing.T) {
	req := wire.Handshake(AppendConclusion(nil, 0x1234, 77, 1, peer, "x"))
	h, ok := wire.AsHandshake(AppendResponse(nil, req, 0x99, peer))
	if !ok || h.Packet().DestID() != 0x1234 || h.SocketID() != 0x99 || h.ISN() != 77 || !Accepted(h) {
		t.Fatalf("% x", []byte(h))
	}
	if Accepted(req) {
		t.Error("a request passes for a response")
	}
	if Accepted(h[:wire.HandshakeSize]) {
		t.Error("a response without HSRSP is accepted")
	}
	if reject := wire.Handshake(handshake.AppendRejection(nil, req, handshake.CodeDown)); Accepted(reject) {
		t.Error("a rejection is accepted")
	}
}

func TestWishes(t *testing.T) {
	for _, w := range []Request{
		{Stream: "bench/s17"},
		{Stream: "bench/s18", Rate: 10, Count: 20},
		{Stream: "bench/p3", Play: true, Rate: 600},
		{Stream: "bench/p3", Play: true, Rate: 0.6, Keepalive: 10 * time.Second},
	} {
		got, err := ReadRequest(w.StreamID())
		if err != nil || got != w {
			t.Errorf("%s reads as %+v, %v", w.StreamID(), got, err)
		}
		id, err := streamid.Route(nil, rules.Request{StreamID: w.StreamID()})
		if err != nil || id.Stream.Publish == w.Play || "bench/"+id.Stream.Stream != w.Stream {
			t.Errorf("the relay reads %s as %+v, %v", w.StreamID(), id, err)
		}
	}
	for _, bad := range []string{"#!::r=x,pps=fast", "#!::r=x,pps=-1", "#!::r=x,pps=NaN", "#!::r=x,pps=1e9", "#!::r=x,count=-1", "#!::r=x,ka=0", "#!::r=x,ka=1s"} {
		if w, err := ReadRequest(bad); err == nil {
			t.Errorf("%s reads as %+v", bad, w)
		}
	}
	if w, err := ReadRequest("live/stream"); err != nil || w.Play || w.Stream != "live/stream" {
		t.Errorf("another caller's: %+v, %v", w, err)
	}
}

func FuzzReadWish(f *testing.F) {
	f.Add("#!::r=bench/p3,m=request,pps=600,ka=1000")
	f.Add("#!::pps=1e309")
	f.Fuzz(func(t *testing.T, id string) {
		w, err := ReadRequest(id)
		if err == nil && (!(w.Rate >= 0 && w.Rate <= maxRate) || w.Keepalive < 0) {
			t.Errorf("%q gives %+v", id, w)
		}
	})
}
