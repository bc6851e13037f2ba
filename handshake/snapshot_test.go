package handshake

import (
	"bytes"
	"math"
	"reflect"
	"testing"
	"time"

	"srtrelay/internal/message"
	"srtrelay/wire"
)

const (
	origin = 20 * time.Hour
	older  = 5*time.Hour + 7 // how much earlier time 0 is in the other process
)

// moved returns a leg in a process whose time 0 is earlier.
func moved(t *testing.T, l *BackendLeg) *BackendLeg {
	t.Helper()
	got := new(BackendLeg)
	if err := got.Restore(l.AppendSnapshot(nil, message.Clock{Origin: origin}), message.Clock{Origin: origin - older}, l.caller, l.backend); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(got.Close)
	return got
}

// A leg goes on from every phase as it would have without the move.
func TestSnapshotOfALeg(t *testing.T) {
	refused := rejection(CodeDown)
	for name, prepare := range map[string]func(l *leg){
		"resolving":         func(*leg) {},
		"rewritten":         func(l *leg) { l.x.SetOriginal(Request{CallerID: 1, ISN: 2, StreamID: "live/y", Group: 3}) },
		"an empty original": func(l *leg) { l.x.SetOriginal(Request{}) },
		"induction":         func(l *leg) { l.x.Dial(opened, backend4, nonce); l.tick(opened) },
		"retried":           func(l *leg) { l.x.Dial(opened, backend6, nonce); l.tick(opened); l.tick(opened + LegRetryInterval) },
		"known":             func(l *leg) { l.x.DialKnown(opened, backend4, nonce, backendCookie); l.tick(opened) },
		"conclusion":        func(l *leg) { l.x.Dial(opened, backend4, nonce); l.tick(opened); l.x.Reply(opened, inducted(), nil) },
		"refused": func(l *leg) {
			l.x.Dial(opened, backend4, nonce)
			l.tick(opened)
			l.x.Reply(opened, inducted(), nil)
			l.x.Reply(opened, refused, nil)
		},
		"a strange reply": func(l *leg) { l.x.Dial(opened, backend4, nonce); l.x.NoteInvalidReply() },
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t)
			prepare(l)
			got, want := moved(t, &l.x), l.x
			if got.Due() != want.Due()+older || got.FailureCode() != want.FailureCode() || got.MayAccept() != want.MayAccept() ||
				got.Phase() != want.Phase() || got.Retries() != want.Retries() || !bytes.Equal(got.Conclusion(), want.Conclusion()) {
				t.Errorf("%+v, want %+v", got, want)
			}
			for k := range 4 {
				now := opened + time.Duration(k)*LegRetryInterval
				a, codeA := l.x.Tick(now, nil)
				b, codeB := got.Tick(now+older, nil)
				if !bytes.Equal(a, b) || codeA != codeB {
					t.Errorf("after %v: % x, %v; want % x, %v", now-opened, b, codeB, a, codeA)
				}
			}
			for _, at := range []*time.Duration{&got.deadline, &got.retry, &got.retries.at} {
				if *at != 0 && *at != math.MaxInt64 {
					*at -= older
				}
			}
			kept := got.conclusion
			got.conclusion = l.x.conclusion
			if !reflect.DeepEqual(*got, l.x) {
				t.Errorf("in the end %+v, want %+v", *got, l.x)
			}
			got.conclusion = kept
		})
	}
}

func TestSnapshotOfAReplay(t *testing.T) {
	l := open(t)
	l.x.Dial(opened, backend4, nonce)
	l.tick(opened)
	l.x.Reply(opened, inducted(), nil)
	if _, outcome := l.x.Reply(opened+ms, response(), nil); outcome != OutcomeAnswered {
		t.Fatalf("outcome %v", outcome)
	}
	here := l.x.Replay()
	defer here.Close()
	there, err := RestoreReplay(here.AppendSnapshot(nil, message.Clock{Origin: origin}), message.Clock{Origin: origin - older})
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	for k, timestamp := range []uint32{sentAt, sentAt, sentAt + 250_000, sentAt} {
		now := opened + time.Duration(k)*150*ms
		h := conclusion(5, hsreq, sid("live/x"))
		h.Packet().SetTimestamp(timestamp)
		a, b := here.AcceptRetry(now, h, false), there.AcceptRetry(now+older, h, false)
		if a != b || !bytes.Equal(here.Answer(now), there.Answer(now+older)) {
			t.Errorf("CONCLUSION %d: accepted %v, want %v", k, b, a)
		}
	}
}

// A cookie is valid in the other process for as long as it would have been here, and so
// after one more move.
func TestSnapshotOfCookies(t *testing.T) {
	for _, made := range []time.Duration{0, time.Second, CookieEpoch - 1, 90*time.Minute + time.Second} {
		here := NewCookieGenerator(Secret{1, 2})
		cookie := here.Generate(made, someone)
		there, c := here, message.Clock{Origin: origin}
		for range 2 {
			next := message.Clock{Origin: c.Origin - older}
			moved, err := RestoreCookies(there.AppendSnapshot(nil, c), next)
			if err != nil {
				t.Fatal(err)
			}
			there, c = moved, next
		}
		end := made/CookieEpoch*CookieEpoch + 2*CookieEpoch
		for _, now := range []time.Duration{made, end - 1, end} {
			if a, b := here.Check(now, someone, cookie), there.Check(now+2*older, someone, cookie); a != b || a != (now < end) {
				t.Errorf("made at %v, at %v: %v here, %v there", made, now, a, b)
			}
		}
	}
}

func TestDamagedSnapshotsOfHandshakes(t *testing.T) {
	l := open(t)
	c := message.Clock{Origin: origin}
	whole := l.x.AppendSnapshot(nil, c)
	with := func(extra []byte) []byte { return append(append([]byte(nil), whole...), extra...) }
	long := make(wire.Handshake, wire.MaxPayload+4)
	copy(long, l.x.Conclusion())
	for name, b := range map[string][]byte{
		"nothing":              nil,
		"truncated":            whole[:len(whole)-3],
		"a phase that is over": with(message.AppendUint(nil, legPhase, PhaseRejected)),
		"no CONCLUSION":        with(message.AppendBytes(nil, legConclusion, "x")),
		"a long CONCLUSION":    with(message.AppendBytes(nil, legConclusion, []byte(long))),
		"a large code":         with(message.AppendUint(nil, legBacklog, uint64(1)<<40)),
	} {
		var got BackendLeg
		if err := got.Restore(b, c, caller4, backend4); err == nil || got != (BackendLeg{}) {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
	}
	if _, err := RestoreReplay(message.AppendBytes(nil, replayAnswer, []byte(long)), c); err == nil {
		t.Error("an answer longer than a datagram is no error")
	}
	if _, err := RestoreCookies(message.AppendBytes(nil, cookieSecret, "short"), c); err == nil {
		t.Error("a short secret is no error")
	}
}
