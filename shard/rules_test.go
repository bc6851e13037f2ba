package shard

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"srtrelay/streamid"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/streamid/rules"
	"srtrelay/wire"
)

// asking notes what the balancer is asked.
type asking struct {
	*fakeBalancer
	queries []backend.Query
}

func (a *asking) Resolve(q backend.Query, done func(backend.Target, error) bool) bool {
	a.queries = append(a.queries, q)
	return a.fakeBalancer.Resolve(q, done)
}

// ruled is a rig whose shard has rules; PORT stands for the port that callers
// dial.
type ruled struct {
	*rig
	live  *rules.Live
	asked *asking
}

func newRuled(t *testing.T, text string) *ruled {
	t.Helper()
	r := &ruled{live: new(rules.Live), asked: new(asking)}
	r.rig = newRig(t, func(c *Config) {
		c.Rules = r.live
		r.asked.fakeBalancer = c.Resolver.(*fakeBalancer)
		c.Resolver = r.asked
	})
	r.lay(text)
	return r
}

// lay puts rules in force.
func (r *ruled) lay(text string) {
	r.t.Helper()
	text = strings.ReplaceAll(text, "PORT", strconv.Itoa(int(r.front.Port())))
	s, err := rules.Parse("r.yaml", []byte(text), streamid.Check)
	if err != nil {
		r.t.Fatal(err)
	}
	r.live.Publish(s)
}

// key is what the balancer was last asked for.
func (r *ruled) key() string {
	r.t.Helper()
	if len(r.asked.queries) == 0 {
		r.t.Fatalf("the balancer was not asked: %v", r.nonzero())
	}
	return r.asked.queries[len(r.asked.queries)-1].Key
}

// asks builds a CONCLUSION with a KMREQ block behind the stream ID; without
// one if it is empty.
func (r *ruled) asks(streamID string, cookie, timestamp uint32) wire.Handshake {
	b := []byte(conclusion(callerID, callerISN, cookie, timestamp)[:wire.HandshakeSize+16])
	wire.Handshake(b).SetExtension(wire.FlagHSReq | wire.FlagKMReq)
	if streamID != "" {
		wire.Handshake(b).SetExtension(wire.FlagHSReq | wire.FlagKMReq | wire.FlagConfig)
		b = wire.AppendString(b, wire.BlockSID, streamID)
	}
	return wire.Handshake(wire.AppendBlock(b, wire.BlockKMReq, keyMaterial))
}

var keyMaterial = bytes.Repeat([]byte("key!"), 14)

// expectTold checks a CONCLUSION at the backend.
func (r *ruled) expectTold(h wire.Handshake, streamID string) {
	r.t.Helper()
	req, code := handshake.ParseConclusion(h)
	if code != handshake.CodeNone || req.StreamID != streamID {
		r.t.Errorf("the backend was told %q (%v), want %q", req.StreamID, code, streamID)
	}
	for b := range h.Blocks {
		if b.Type == wire.BlockKMReq && bytes.Equal(b.Content, keyMaterial) {
			return
		}
	}
	r.t.Errorf("the key material is not as the caller sent it: % x", []byte(h))
}

const byPort = "ports: [{port: PORT, stream-id: '#!::r=live/camera,m=publish'}]\n"

func TestRewrittenFromFirstSendToLast(t *testing.T) {
	const told = "#!::r=live/camera,m=publish"
	r := newRuled(t, byPort)
	cookie := r.cookie(r.caller, callerID)
	r.send(r.caller, r.asks("", cookie, 500))
	if q := r.asked.queries; len(q) != 1 || q[0].Key != "__defaultVhost__/live/camera" || !q[0].Publish || q[0].StreamID != "" {
		t.Fatalf("asked %+v", q)
	}
	h, upstream := r.answerInduction()
	r.expectTold(h, told)
	r.pass(handshake.LegRetryInterval + wheelTick)
	h, _ = r.expect(r.backend, wire.HandshakeConclusion)
	r.expectTold(h, told)

	// The caller's retry bears what it sent before, none, and is fresher. The
	// rules may change meanwhile: its backend was chosen for the first.
	r.lay("ports: [{port: PORT, stream-id: other, override: true}]")
	r.send(r.caller, r.asks("", cookie, 900_000))
	r.expectNothing(r.backend)
	r.pass(handshake.LegRetryInterval + wheelTick)
	h, _ = r.expect(r.backend, wire.HandshakeConclusion)
	r.expectTold(h, told)
	if ts := h.Packet().Timestamp(); ts < 900_000 {
		t.Errorf("timestamp %d: the retry did not take the place of the first", ts)
	}

	// A retry that asks for something else changes nothing.
	r.send(r.caller, r.asks("live/else", cookie, 1_200_000))
	if r.count(DropDuplicate) != 1 {
		t.Errorf("another request was not dropped: %v", r.nonzero())
	}

	r.reply(upstream, accept(h, backendID))
	if h, _ := r.expect(r.caller, wire.HandshakeConclusion); h.SocketID() != backendID {
		t.Errorf("response with socket ID %x", h.SocketID())
	}
	r.send(r.caller, r.asks("", cookie, 1_500_000))
	r.expect(r.caller, wire.HandshakeConclusion) // replayed
	if len(r.asked.queries) != 1 {
		t.Errorf("the balancer was asked %d times", len(r.asked.queries))
	}
}

// What a caller sends counts, unless the rule overrides it.
func TestSentBeatsRule(t *testing.T) {
	r := newRuled(t, byPort)
	r.send(r.caller, r.asks("live/own", r.cookie(r.caller, callerID), 500))
	h, _ := r.answerInduction()
	r.expectTold(h, "live/own")
	if key := r.key(); key != "__defaultVhost__/live/own" {
		t.Errorf("key %q", key)
	}
}

func TestOverride(t *testing.T) {
	r := newRuled(t, "sources: [{network: 127.0.0.0/8, stream-id: live/forced, override: true}]")
	r.send(r.caller, r.asks("live/own", r.cookie(r.caller, callerID), 500))
	h, _ := r.answerInduction()
	r.expectTold(h, "live/forced")
	if q := r.asked.queries[0]; q.Key != "__defaultVhost__/live/forced" || q.StreamID != "live/own" {
		t.Errorf("asked %+v", q)
	}
}

func TestForbidden(t *testing.T) {
	r := newRuled(t, "access: {publish: {deny: [127.0.0.0/8]}}")
	cookie := r.cookie(r.caller, callerID)
	for range 2 { // a retry is told again
		r.send(r.caller, r.asks("#!::r=live/x,m=publish", cookie, 500))
		r.expect(r.caller, wire.HandshakeType(handshake.CodeForbidden))
	}
	if e := r.lastEvent(EventCallerRejected); e.Code != handshake.CodeForbidden || e.Key != "__defaultVhost__/live/x" || !e.Publish {
		t.Errorf("event %+v", e)
	}
	if len(r.asked.queries) != 0 {
		t.Errorf("the balancer was asked %+v", r.asked.queries)
	}
	r.wantEmpty()
	r.send(r.caller, r.asks("live/x", cookie, 500))
	r.expect(r.backend, wire.HandshakeInduction)
}

func TestAddressInjected(t *testing.T) {
	r := newRuled(t, "inject-address: {key: caller, port: true}")
	own := addrOf(r.caller).String()
	r.send(r.caller, r.asks("#!::r=live/x,caller=6.6.6.6,m=publish,Caller=7.7.7.7", r.cookie(r.caller, callerID), 500))
	h, _ := r.answerInduction()
	r.expectTold(h, "#!::r=live/x,m=publish,caller="+own)
	if key := r.key(); key != "__defaultVhost__/live/x" {
		t.Errorf("key %q", key)
	}
}

func TestTooLongForSRS(t *testing.T) {
	r := newRuled(t, "inject-address: {key: caller}")
	cookie := r.cookie(r.caller, callerID)
	fits := "#!::r=live/" + strings.Repeat("x", rules.MaxStreamID-len("#!::r=live/,caller=127.0.0.1"))
	r.send(r.caller, r.asks(fits+"x", cookie, 500))
	r.expect(r.caller, wire.HandshakeType(handshake.CodeBadRequest))
	r.wantEmpty()
	r.send(r.caller, r.asks(fits, cookie, 500))
	h, _ := r.answerInduction()
	r.expectTold(h, fits+",caller=127.0.0.1")
}

// A datagram that has no room is refused like a stream ID that is too long.
func TestTooLongForADatagram(t *testing.T) {
	r := newRuled(t, byPort)
	h := r.asks("", r.cookie(r.caller, callerID), 500)
	h = wire.Handshake(wire.AppendBlock(h, 99, make([]byte, wire.MaxPayload-len(h)-4)))
	r.send(r.caller, h)
	r.expect(r.caller, wire.HandshakeType(handshake.CodeBadRequest))
	r.wantEmpty()
}

func TestUnknownVhostFolds(t *testing.T) {
	r := newRuled(t, "vhosts: [a.com]")
	for id, want := range map[string]string{
		"#!::h=a.com,r=live/x": "a.com/live/x",
		"#!::h=b.com,r=live/x": "__defaultVhost__/live/x",
	} {
		c := r.dialFront()
		r.send(c, r.asks(id, r.cookie(c, callerID), 500))
		if key := r.key(); key != want {
			t.Errorf("%q has the key %q, want %q", id, key, want)
		}
		h, _ := r.answerInduction()
		r.expectTold(h, id) // SRS folds it itself
		r.pass(handshake.LegTimeout + handshake.RejectionTTL + 2*wheelTick)
		for b, _ := r.receive(r.backend); b != nil; b, _ = r.receive(r.backend) {
		}
	}
}

// An HSv4 handshake has no place for a stream ID: it is routed by the rule,
// and its datagram stays as it is.
func TestHSv4(t *testing.T) {
	r := newRuled(t, byPort+"inject-address: {key: caller}")
	h := conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 500)[:wire.HandshakeSize]
	h.SetVersion(4)
	h.SetExtension(wire.UDTDgram)
	r.send(r.caller, h)
	if key := r.key(); key != "__defaultVhost__/live/camera" {
		t.Errorf("key %q", key)
	}
	told, _ := r.answerInduction()
	told.SetCookie(h.Cookie())
	told.SetPeerIP(h.PeerIP())
	told.Packet().SetTimestamp(500)
	if !bytes.Equal(told, h) {
		t.Errorf("told % x\nwant % x", []byte(told), []byte(h))
	}
}

// The bug to avoid: a SHUTDOWN to the connection that a rewritten CONCLUSION
// replaces, made in the same scratch space, would run over it.
func TestRewrittenReplacement(t *testing.T) {
	r := newRuled(t, byPort)
	r.establish(r.caller, callerID, 7, backendID)
	r.send(r.caller, r.asks("", r.cookie2(), 500))
	r.expectShutdown(r.backend, backendID)
	h, _ := r.answerInduction()
	r.expectTold(h, "#!::r=live/camera,m=publish")
}

// cookie2 gets the caller's cookie, which its socket ID no longer gives it
// while a session of that ID is alive.
func (r *ruled) cookie2() uint32 { return r.cookie(r.caller, callerID+1) }
