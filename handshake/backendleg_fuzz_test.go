package handshake

import (
	"bytes"
	"testing"
	"time"

	"srtrelay/wire"
)

// FuzzBackendLegReply plays datagrams of a backend, each two bytes of length and
// a byte of delay ahead. No input connects without the caller's ISN.
func FuzzBackendLegReply(f *testing.F) {
	frame := func(all ...wire.Handshake) (b []byte) {
		for _, h := range all {
			b = append(append(b, byte(len(h)>>8), byte(len(h)), 7), h...)
		}
		return b
	}
	f.Add(frame(inducted(), response()))
	f.Add(frame(inducted(), rejection(CodeBacklog), response(), response()))
	f.Add(frame(rejection(1010)))
	f.Add(frame(inducted(), response()[:64], rejection(1000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := open(t)
		l.x.Dial(opened, backend4, nonce)
		now := opened
		for len(b) > 3 {
			n := min(int(b[0])<<8|int(b[1]), len(b)-3)
			now += time.Duration(b[2]) * ms
			datagram := b[3 : 3+n]
			b = b[3+n:]
			out, code := l.x.Tick(now, nil)
			if code != CodeNone {
				if l.x.Pending() {
					l.x.Reject(now, code)
				}
				break
			}
			l.x.MatchesInduction(datagram)
			h, ok := wire.AsHandshake(datagram)
			if !ok {
				continue
			}
			before, asked := l.x.Phase(), bytes.Clone(datagram)
			out, outcome := l.x.Reply(now, h, out[:0])
			if !bytes.Equal(asked, datagram) {
				t.Fatal("the datagram changed")
			}
			if len(out) > 0 && outcome != OutcomeProgressed {
				t.Fatalf("%d bytes to the backend with outcome %d", len(out), outcome)
			}
			if l.x.Phase() == PhaseConnected && before != PhaseConnected {
				if before != PhaseConclusion || outcome != OutcomeAnswered || h.ISN() != callerISN || h.SocketID() == 0 {
					t.Fatalf("connected from phase %d by % x", before, datagram)
				}
			}
			if l.x.Phase() < before {
				t.Fatalf("from phase %d back to %d", before, l.x.Phase())
			}
		}
		if !l.x.Pending() {
			if got := l.replay().Answer(now); len(got) < wire.HandshakeSize {
				t.Fatalf("a response of %d bytes", len(got))
			}
			return
		}
		if l.x.Due() > opened+LegTimeout {
			t.Fatalf("due at %v, past the deadline", l.x.Due())
		}
	})
}
