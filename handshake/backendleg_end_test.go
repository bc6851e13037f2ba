package handshake

import (
	"bytes"
	"testing"
	"time"

	"srtrelay/pool"
	"srtrelay/wire"
)

// At the deadline the caller learns what was seen until then.
func TestDeadline(t *testing.T) {
	garbage := changed(response(), func(h wire.Handshake) { h.SetISN(1) })
	tests := []struct {
		name string
		play func(*leg)
		want Code
	}{
		{"no backend chosen", func(*leg) {}, CodeDown},
		{"silence", func(l *leg) { l.dial(opened) }, CodeDown},
		{"silence after the INDUCTION", func(l *leg) { l.conclude(opened) }, CodeDown},
		{"repeated INDUCTION replies", func(l *leg) { l.conclude(opened); l.reply(opened, inducted(), OutcomeDuplicate) }, CodeDown},
		{"nonsense", func(l *leg) { l.dial(opened); l.reply(opened, garbage, OutcomeIgnored) }, CodeBadGateway},
		{"nonsense later", func(l *leg) { l.conclude(opened); l.reply(opened, garbage, OutcomeIgnored) }, CodeBadGateway},
		{"no handshake at all", func(l *leg) { l.conclude(opened); l.x.NoteInvalidReply() }, CodeBadGateway},
		{"a forged rejection", func(l *leg) {
			l.conclude(opened)
			l.reply(opened, changed(rejection(1010), func(h wire.Handshake) { h.SetISN(1) }), OutcomeIgnored)
		}, CodeBadGateway},
		{"backlog", func(l *leg) { l.conclude(opened); l.reply(opened, rejection(CodeBacklog), OutcomeProgressed) }, CodeBacklog},
		{"backlog and nonsense", func(l *leg) {
			l.conclude(opened)
			l.reply(opened, rejection(CodeBacklog), OutcomeProgressed)
			l.reply(opened, garbage, OutcomeIgnored)
		}, CodeBacklog},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := open(t)
			tt.play(l)
			end := opened + 2200*ms
			l.tick(end - 1)
			if due := l.x.Due(); due != end {
				t.Errorf("due at %v, want the deadline %v", due, end)
			}
			b, code := l.x.Tick(end, nil)
			if code != tt.want || len(b) != 0 {
				t.Errorf("%v and %d bytes, want %v", code, len(b), tt.want)
			}
			l.phase(l.x.Phase())
			l.x.Reject(end, code)
			l.phase(PhaseRejected)
			want := AppendRejection(nil, conclusion(5, hsreq, sid("live/x")), tt.want)
			if got := l.replay().Answer(end); !bytes.Equal(got, want) || l.x.Code() != tt.want {
				t.Errorf("code %v, rejection % x", l.x.Code(), got)
			}
		})
	}
}

// A full accept queue drains: the same CONCLUSION goes out again soon.
func TestBacklogIsRetried(t *testing.T) {
	l := open(t)
	l.conclude(opened)
	now := opened + 5*ms
	if l.reply(now, rejection(CodeBacklog), OutcomeProgressed) != nil {
		t.Fatal("answered at once: that is no pause")
	}
	if l.x.Due() != now+100*ms || l.tick(now+100*ms-1) != nil {
		t.Fatalf("due at %v", l.x.Due())
	}
	now += 100 * ms
	l.expectConclusion(l.tick(now), sentAt+105_000)
	l.reply(now, rejection(CodeBacklog), OutcomeProgressed)
	now += 100 * ms
	l.expectConclusion(l.tick(now), sentAt+205_000)
	l.reply(now, response(), OutcomeAnswered)
	l.phase(PhaseConnected)
}

// A backend's rejection reaches the caller with its code, and with nothing else
// of what the backend sent: its fields are the caller's own. (It used to pass
// whole, with the backend's address as the peer IP and the backend's cookie.)
func TestRejectionTellsNothingOfTheBackend(t *testing.T) {
	for name, tt := range map[string]struct {
		isn  uint32
		play func(*leg)
		want bool
	}{
		"to the INDUCTION":                {uint32(nonce), func(l *leg) { l.dial(opened) }, true},
		"to the CONCLUSION":               {callerISN, func(l *leg) { l.conclude(opened) }, true},
		"to the INDUCTION, but too late":  {uint32(nonce), func(l *leg) { l.conclude(opened) }, false},
		"to nothing while inducting":      {1, func(l *leg) { l.dial(opened) }, false},
		"to nothing while concluding":     {1, func(l *leg) { l.conclude(opened) }, false},
		"one bit beside":                  {callerISN ^ 1, func(l *leg) { l.conclude(opened) }, false},
		"before anything has been asked ": {callerISN, func(*leg) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t)
			tt.play(l)
			// libsrt's 1004 keeps the request's length and fields.
			h := changed(append(rejection(1004), hsreq...), func(h wire.Handshake) {
				h.SetISN(tt.isn)
				h.SetPeerIP(backend6)
				h.SetCookie(backendCookie)
				h.SetSocketID(backendID)
				h.Packet().SetTimestamp(777)
			})
			want := AppendRejection(nil, conclusion(5, hsreq, sid("live/x")), 1004)
			if !tt.want {
				l.reply(opened, h, OutcomeIgnored)
				return
			}
			l.reply(opened, h, OutcomeAnswered)
			l.phase(PhaseRejected)
			if got := l.replay().Answer(opened); !bytes.Equal(got, want) || l.x.Code() != CodeRogue {
				t.Errorf("%v:\n got % x\nwant % x", l.x.Code(), got, want)
			}
			if got := wire.Packet(l.replay().Answer(opened + time.Second)).Timestamp(); got != sentAt+1_000_000 {
				t.Errorf("a replay has the timestamp %d", got)
			}
		})
	}
}

// stamped is the caller's CONCLUSION with another timestamp.
func stamped(us uint32) wire.Handshake {
	h := conclusion(5, hsreq, sid("live/x"))
	h.Packet().SetTimestamp(us)
	return h
}

func TestRetryWhilePending(t *testing.T) {
	l := open(t)
	again := func(after time.Duration, us uint32, want bool) {
		t.Helper()
		if got := l.x.AcceptRetry(opened+after, stamped(us)); got != want {
			t.Fatalf("after %v, timestamp %d: %v", after, us, got)
		}
	}
	again(1*ms, sentAt, false)   // the network's
	again(199*ms, sentAt, false) //
	again(256*ms, sentAt+256_000, true)
	again(300*ms, sentAt, false)         // the first one's copy, overtaken
	again(455*ms, sentAt+256_000, false) // 199 ms after the second
	l.dial(opened + 500*ms)
	l.expectConclusion(l.reply(opened+556*ms, inducted(), OutcomeProgressed), sentAt+556_000)
	again(1000*ms, sentAt+256_000, true) // a caller whose retries bear one timestamp
	l.expectConclusion(l.tick(opened+1100*ms), sentAt+356_000)
	l.phase(PhaseConclusion)
}

func TestRetryWhenAnswered(t *testing.T) {
	l := open(t)
	l.conclude(opened)
	l.reply(opened+10*ms, response(), OutcomeAnswered)
	r := l.replay()
	for _, tt := range []struct {
		after              time.Duration
		us                 uint32
		responseUsed, want bool
	}{
		{20 * ms, sentAt, false, false},
		{250 * ms, sentAt, false, true}, // the response was lost
		{251 * ms, sentAt, false, false},
		{260 * ms, sentAt + 250_000, false, true},
		{9000 * ms, sentAt + 250_000, true, false}, // however late
		{9001 * ms, sentAt, true, false},
		{9002 * ms, sentAt + 500_000, true, true}, // a retry under way when the response came
		{9003 * ms, sentAt + 500_000, true, false},
	} {
		if got := r.AcceptRetry(opened+tt.after, stamped(tt.us), tt.responseUsed); got != tt.want {
			t.Errorf("after %v, timestamp %d, responseUsed %v: %v", tt.after, tt.us, tt.responseUsed, got)
		}
	}
	l.phase(PhaseConnected)
	l.expectResponse(opened+10*ms, 9000, caller4)
}

func TestTimestampsWrap(t *testing.T) {
	l := &leg{T: t}
	defer l.x.Close()
	l.x.Open(opened, stamped(0xffffffff-99_999), caller4)
	l.dial(opened)
	l.expectConclusion(l.reply(opened+100*ms, inducted(), OutcomeProgressed), 0)
	if !l.x.AcceptRetry(opened+200*ms, stamped(100_000)) {
		t.Fatal("behind the wrap a retry looks older")
	}
	if l.x.AcceptRetry(opened+201*ms, stamped(0xffffffff-99_999)) {
		t.Fatal("before the wrap a copy looks fresher")
	}
	l.expectConclusion(l.tick(opened+350*ms), 250_000)
	h := changed(response(), func(h wire.Handshake) { h.Packet().SetTimestamp(0xffffffff) })
	l.reply(opened+400*ms, h, OutcomeAnswered)
	if got := wire.Packet(l.replay().Answer(opened + 401*ms)).Timestamp(); got != 999 {
		t.Errorf("replayed with %d", got)
	}
}

func TestMatchesInduction(t *testing.T) {
	l := open(t)
	induction := AppendInduction(nil, callerID, nonce, backend4)
	forged := AppendInduction(nil, callerID, nonce^1, backend4)
	check := func(when string, quoted []byte, want bool) {
		t.Helper()
		if got := l.x.MatchesInduction(quoted); got != want {
			t.Errorf("%s: %v", when, got)
		}
	}
	check("nothing sent", induction, false)
	check("nothing sent, all zero", append([]byte{0x80}, make([]byte, 63)...), false)
	l.dial(opened)
	check("INDUCTION", induction, true)
	check("cut short", induction[:63], false)
	check("nothing", nil, false)
	check("another nonce", forged, false)
	check("a CONCLUSION before there is one", conclusion(5), false)

	sent := bytes.Clone(l.reply(opened, inducted(), OutcomeProgressed))
	check("CONCLUSION: another caller may know its cookie", sent, false)
	check("a late INDUCTION", induction, true)
	check("data", append([]byte{0}, induction[1:]...), false)
	l.reply(opened, response(), OutcomeAnswered)
	check("answered", induction, false)
}

// The bug: a repeat under the same ID and ISN could slip another stream ID past
// the choice of the backend, and past every rule about stream IDs.
func TestRepeatMustNotChangeTheStream(t *testing.T) {
	sid := func(id string, timestamp uint32) wire.Handshake {
		h := conclusion(wire.FlagHSReq|wire.FlagConfig, hsreq, wire.AppendString(nil, wire.BlockSID, id))
		h.Packet().SetTimestamp(timestamp)
		return h
	}
	var x BackendLeg
	x.Open(opened, sid("#!::r=live/a", sentAt), caller4)
	defer x.Close()
	if x.AcceptRetry(opened+ms, sid("#!::r=live/b", sentAt+1000)) {
		t.Error("another stream ID was taken")
	}
	if x.AcceptRetry(opened+ms, conclusion(0)) {
		t.Error("a malformed repeat was taken")
	}
	if got, _ := ParseConclusion(x.Conclusion()); got.StreamID != "#!::r=live/a" {
		t.Errorf("kept %q", got.StreamID)
	}
	if !x.AcceptRetry(opened+ms, sid("#!::r=live/a", sentAt+1000)) {
		t.Error("an honest retry was refused")
	}
}

// given reports whether a buffer went back to the pool.
func given(b *pool.Buffer) (back bool) {
	defer func() { back = recover() != nil }()
	b.Bytes()
	return false
}

func TestBuffersGoBackOnce(t *testing.T) {
	var x BackendLeg
	x.Close() // never opened
	for range 3 {
		x.Open(opened, stamped(sentAt), caller4)
		first := x.conclusion
		x.AcceptRetry(opened+ms, stamped(sentAt+1))
		if !given(first) || given(x.conclusion) {
			t.Fatal("the replaced CONCLUSION is leaked, or the kept one is gone")
		}
		x.Dial(opened, backend4, nonce)
		x.Reply(opened, inducted(), nil)
		x.Reply(opened, response(), nil)
		accepted := x.response
		x.Reject(opened, CodeOverload) // the shard finds no room for the session
		if !given(accepted) || x.Phase() != PhaseRejected || x.Code() != CodeOverload {
			t.Fatal("the replaced response is leaked")
		}
		c, a := x.conclusion, x.response
		r := x.Replay()
		if !given(c) || given(a) {
			t.Fatal("the CONCLUSION outlives the leg, or the answer does not")
		}
		r.Close()
		if !given(a) || *r != (Replay{}) {
			t.Fatal("Close of a replay leaks")
		}
		r.Close() // a second one finds nothing; a double Put would panic
		x.Open(opened, stamped(sentAt), caller4)
		c = x.conclusion
		x.Reject(opened, CodeOverload)
		a = x.response
		x.Close()
		if !given(c) || !given(a) {
			t.Fatal("Close leaks")
		}
		x.Close() // a second one finds nothing; a double Put would panic
		if x != (BackendLeg{}) {
			t.Fatalf("%+v left", x)
		}
	}
}
