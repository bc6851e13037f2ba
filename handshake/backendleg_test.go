package handshake

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"srtrelay/wire"
)

const (
	ms            = time.Millisecond
	backendID     = 0x51525354
	backendCookie = 0xc0ffee42
	nonce         = Nonce(0x0badcafe)
	opened        = 5 * time.Second // when the first CONCLUSION came
	sentAt        = 1000            // its timestamp
)

var (
	caller4  = netip.MustParseAddr("192.0.2.1")
	caller6  = netip.MustParseAddr("2001:db8::1")
	backend4 = netip.MustParseAddr("10.0.0.5")
	backend6 = netip.MustParseAddr("2001:db8:5::5")
)

// leg is a BackendLeg with the datagrams of a test.
type leg struct {
	*testing.T
	x BackendLeg
	r *Replay
}

// replay returns the leg's Replay, which stays open.
func (l *leg) replay() *Replay {
	if l.r == nil {
		l.r = &Replay{answer: l.x.response, stampedAt: l.x.answeredAt, retries: l.x.retries}
	}
	return l.r
}

// open opens a leg whose kept buffers must all be given back.
func open(t *testing.T) *leg {
	l := &leg{T: t}
	l.x.Open(opened, conclusion(5, hsreq, sid("live/x")), caller4)
	t.Cleanup(l.x.Close)
	return l
}

// tick returns what is due at a time, which is at most one datagram.
func (l *leg) tick(now time.Duration) wire.Handshake {
	l.Helper()
	b, code := l.x.Tick(now, []byte("room"))
	if code != CodeNone {
		l.Fatalf("at %v: %v", now, code)
	}
	return l.sent(b)
}

// sent checks that b was appended to and returns what was.
func (l *leg) sent(b []byte) wire.Handshake {
	l.Helper()
	if !bytes.HasPrefix(b, []byte("room")) {
		l.Fatalf("overwritten: % x", b)
	}
	if len(b) == 4 {
		return nil
	}
	h, ok := wire.AsHandshake(b[4:])
	if !ok {
		l.Fatalf("sent no handshake: % x", b[4:])
	}
	return h
}

func (l *leg) reply(now time.Duration, h wire.Handshake, want Outcome) wire.Handshake {
	l.Helper()
	b, got := l.x.Reply(now, h, []byte("room"))
	if got != want {
		l.Fatalf("at %v: outcome %d, want %d", now, got, want)
	}
	return l.sent(b)
}

func (l *leg) phase(want Phase) {
	l.Helper()
	if l.x.Phase() != want || l.x.Pending() != (want < PhaseConnected) {
		l.Fatalf("phase %d, pending %v; want phase %d", l.x.Phase(), l.x.Pending(), want)
	}
}

// dial starts the leg and takes the INDUCTION.
func (l *leg) dial(now time.Duration) {
	l.Helper()
	l.x.Dial(now, backend4, nonce)
	l.phase(PhaseInduction)
	if h := l.tick(now); h == nil || h.Type() != wire.HandshakeInduction {
		l.Fatal("no INDUCTION at once")
	}
}

// conclude goes on until the CONCLUSION is out.
func (l *leg) conclude(now time.Duration) wire.Handshake {
	l.Helper()
	l.dial(now)
	h := l.reply(now, inducted(), OutcomeProgressed)
	l.phase(PhaseConclusion)
	return h
}

// inducted is a listener's answer to the relay's INDUCTION.
func inducted() wire.Handshake {
	h := conclusion(wire.MagicCode)
	h.Packet().SetDestID(callerID)
	h.SetEncryption(4)
	h.SetISN(uint32(nonce))
	h.SetType(wire.HandshakeInduction)
	h.SetCookie(backendCookie)
	return h
}

// response is a listener's acceptance.
func response() wire.Handshake {
	h := conclusion(1, wire.AppendFeatures(nil, wire.BlockHSRsp, wire.Features{Version: 0x010503, Flags: 0xbf}))
	h.Packet().SetDestID(callerID)
	h.Packet().SetTimestamp(9000)
	h.SetSocketID(backendID)
	h.SetPeerIP(netip.MustParseAddr("10.9.9.9")) // the relay, as the backend sees it
	return h
}

func rejection(code Code) wire.Handshake {
	return wire.Handshake(AppendRejection(nil, conclusion(5, hsreq), code))
}

// expectConclusion checks a forwarded CONCLUSION byte by byte.
func (l *leg) expectConclusion(h wire.Handshake, timestamp uint32) {
	l.Helper()
	want := conclusion(5, hsreq, sid("live/x"))
	want.Packet().SetTimestamp(timestamp)
	want.SetCookie(backendCookie)
	want.SetPeerIP(backend4)
	if !bytes.Equal(h, want) {
		l.Fatalf("CONCLUSION\n got % x\nwant % x", []byte(h), []byte(want))
	}
}

func TestBackendLeg(t *testing.T) {
	l := open(t)
	l.phase(PhaseResolving)
	if l.x.Due() != opened+LegTimeout || l.tick(opened+10*ms) != nil {
		t.Fatal("something is due without a backend")
	}
	l.reply(opened, inducted(), OutcomeIgnored)

	dialled := opened + 30*ms
	l.x.Dial(dialled, backend4, nonce)
	if l.x.Due() != dialled {
		t.Fatalf("first INDUCTION due at %v", l.x.Due())
	}
	want := AppendInduction(nil, callerID, nonce, backend4)
	for i := range 3 {
		now := dialled + time.Duration(i)*LegRetryInterval
		if i > 0 && l.tick(now-1) != nil {
			t.Fatalf("INDUCTION %d is early", i)
		}
		if h := l.tick(now); !bytes.Equal(h, want) {
			t.Fatalf("INDUCTION %d: % x", i, []byte(h))
		}
		if l.x.Due() != now+LegRetryInterval || l.x.Retries() != i || l.tick(now) != nil {
			t.Fatalf("INDUCTION %d: next at %v, %d retries", i, l.x.Due(), l.x.Retries())
		}
	}

	now := opened + 600*ms
	l.expectConclusion(l.reply(now, inducted(), OutcomeProgressed), sentAt+600_000)
	l.phase(PhaseConclusion)
	if l.x.Retries() != 0 || l.x.Due() != now+LegRetryInterval {
		t.Fatalf("%d retries, due at %v", l.x.Retries(), l.x.Due())
	}
	now += LegRetryInterval
	l.expectConclusion(l.tick(now), sentAt+850_000)
	if l.x.Retries() != 1 {
		t.Fatalf("%d retries", l.x.Retries())
	}
	if l.reply(now, inducted(), OutcomeDuplicate) != nil {
		t.Fatal("a repeated INDUCTION reply made a datagram")
	}

	now += 7 * ms
	if l.reply(now, response(), OutcomeAnswered) != nil {
		t.Fatal("an answer made a datagram to the backend")
	}
	l.phase(PhaseConnected)
	if l.x.Code() != CodeNone {
		t.Fatal(l.x.Code())
	}
	l.expectResponse(now, 9000, caller4)
	l.reply(now+ms, response(), OutcomeDuplicate)
	l.reply(now+ms, rejection(1010), OutcomeDuplicate)
	l.expectResponse(now+500*ms, 509_000, caller4)
	l.expectResponse(now+500*ms, 509_000, caller4)
	l.expectResponse(now+700*ms+1500, 709_001, caller4)
}

// expectResponse checks the replay of response.
func (l *leg) expectResponse(now time.Duration, timestamp uint32, caller netip.Addr) {
	l.Helper()
	want := response()
	want.Packet().SetTimestamp(timestamp)
	want.SetPeerIP(caller)
	if got := l.replay().Answer(now); !bytes.Equal(got, want) {
		l.Fatalf("response\n got % x\nwant % x", got, []byte(want))
	}
}

func TestBackendLegIPv6(t *testing.T) {
	l := &leg{T: t}
	defer l.x.Close()
	l.x.Open(0, conclusion(5, hsreq), caller6)
	l.x.Dial(0, backend6, nonce)
	if got := l.tick(0).PeerIP(); got != backend6 {
		t.Errorf("INDUCTION: peer IP %v", got)
	}
	if got := l.reply(0, inducted(), OutcomeProgressed).PeerIP(); got != backend6 {
		t.Errorf("CONCLUSION: peer IP %v", got)
	}
	l.reply(0, response(), OutcomeAnswered)
	l.expectResponse(0, 9000, caller6)
}

// gosrt's INDUCTION reply and an old listener's.
func TestInductionReplies(t *testing.T) {
	tests := []struct {
		name   string
		change func(wire.Handshake)
		want   Outcome
	}{
		{"version 5", func(wire.Handshake) {}, OutcomeProgressed},
		{"version 4 without magic", func(h wire.Handshake) { h.SetVersion(4); h.SetExtension(2) }, OutcomeProgressed},
		{"version 5 without magic", func(h wire.Handshake) { h.SetExtension(2) }, OutcomeIgnored},
		{"another nonce", func(h wire.Handshake) { h.SetISN(h.ISN() ^ 1) }, OutcomeIgnored},
		{"the caller's ISN", func(h wire.Handshake) { h.SetISN(callerISN) }, OutcomeIgnored},
		{"too early a CONCLUSION", func(h wire.Handshake) { h.SetType(wire.HandshakeConclusion) }, OutcomeIgnored},
		{"rendezvous", func(h wire.Handshake) { h.SetType(wire.HandshakeWaveAHand) }, OutcomeIgnored},
		{"999", func(h wire.Handshake) { h.SetType(999) }, OutcomeIgnored},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := open(t)
			l.dial(opened)
			h := l.reply(opened, changed(inducted(), tt.change), tt.want)
			if (h != nil) != (tt.want == OutcomeProgressed) {
				t.Errorf("sent % x", []byte(h))
			}
			if tt.want == OutcomeIgnored {
				l.phase(PhaseInduction)
			}
		})
	}
}

func TestResponses(t *testing.T) {
	tests := []struct {
		name string
		h    wire.Handshake
		want Outcome
	}{
		{"HSv5", response(), OutcomeAnswered},
		{"HSv4", changed(response()[:64], func(h wire.Handshake) { h.SetVersion(4) }), OutcomeAnswered},
		{"HSv5 without extensions", response()[:64], OutcomeIgnored},
		{"version 6", changed(response(), func(h wire.Handshake) { h.SetVersion(6) }), OutcomeIgnored},
		{"another ISN", changed(response(), func(h wire.Handshake) { h.SetISN(callerISN + 1) }), OutcomeIgnored},
		{"the nonce", changed(response(), func(h wire.Handshake) { h.SetISN(uint32(nonce)) }), OutcomeIgnored},
		{"no socket ID", changed(response(), func(h wire.Handshake) { h.SetSocketID(0) }), OutcomeIgnored},
		{"agreement", changed(response(), func(h wire.Handshake) { h.SetType(wire.HandshakeAgreement) }), OutcomeIgnored},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := open(t)
			l.conclude(opened)
			l.reply(opened, tt.h, tt.want)
			if tt.want == OutcomeAnswered {
				l.phase(PhaseConnected)
			} else {
				l.phase(PhaseConclusion)
			}
		})
	}
}

// A backend that has rejected the caller is asked no more, also when a stall
// has moved the deadline. If there is no other backend, the caller gets that backend's code
// at the deadline, while it still waits.
func TestRefusingBackendIsAskedNoMore(t *testing.T) {
	const stalled = 400 * time.Millisecond
	l := open(t)
	l.conclude(opened)
	l.reply(opened, rejection(2507), OutcomeRefused)
	l.x.ExtendDeadline(stalled, opened+AnswerDeadline)
	for now := opened; now < opened+LegTimeout+stalled; now += BacklogRetryInterval {
		if h := l.tick(now); h != nil {
			t.Fatalf("%v after it rejected the caller the backend is sent type %v", now-opened, h.Type())
		}
	}
	if due := l.x.Due(); due != opened+LegTimeout+stalled {
		t.Errorf("due %v after the CONCLUSION", due-opened)
	}
	if _, code := l.x.Tick(l.x.Due(), nil); code != 2507 {
		t.Errorf("at the deadline the caller is told %v", code)
	}
}
