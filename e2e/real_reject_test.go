//go:build linux

package e2e

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// rejectionSeen watches what comes back to a caller for a rejection.
func rejectionSeen(code *atomic.Uint32) srttest.Hook {
	return func(dir srttest.Direction, b []byte) srttest.Action {
		if h, ok := wire.AsHandshake(b); ok && dir == srttest.Down && h.Type().IsRejection() {
			code.Store(uint32(h.Type()))
		}
		return srttest.Pass
	}
}

// A real caller gets the reason of its rejection at once: the backend's own code unchanged,
// and the relay's if there is no backend.
func TestRealCallerIsRejected(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		origin  []string // flags; nil: no backend at all
		caller  []string
		code    uint32
		printed string
	}{
		{"wrong passphrase", []string{"-p", passphrase, "-k", "32"}, []string{"passphrase=not-the-passphrase"}, 1010, "1010 bad secret"},
		{"no passphrase", []string{"-p", passphrase}, nil, 1011, "1011 unsecure"},
		{"no backend", nil, nil, 2503, "2503 down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var args []string
			if c.origin != nil {
				args = append(args, backendAt(startOrigin(t, "127.0.0.1", c.origin...).addr))
			}
			r := startRelay(t, args...)
			var seen atomic.Uint32
			link := startLink(t, r.addr, rejectionSeen(&seen))
			caller := liveTransmit(t, "file://con", srtURL(link.Addr(), "#!::r=live/x,m=publish", c.caller...))
			r.awaitLog("caller rejected", func(l logLine) bool { return l.text("code") == c.printed })
			<-caller.done // it gives up by itself
			if seen.Load() != c.code {
				t.Errorf("the caller was answered %d on the wire, want %d", seen.Load(), c.code)
			}
			if text := strings.ToLower(string(caller.stderr.bytes())); !strings.Contains(text, "reject") {
				t.Errorf("the caller does not speak of a rejection: %s", text)
			}
			r.awaitEmpty()
		})
	}
}

// A key length that is advertised asks nobody for a key: a caller without a
// passphrase reaches a backend that has none either.
func TestRealClearCallerWhereAESIsAdvertised(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, "127.0.0.1", "-k", "32")
	r := startRelay(t, backendAt(o.addr))
	r.awaitLog("backend alive", func(l logLine) bool { return l.number("key_length") == 32 })
	var offered atomic.Int64
	link := startLink(t, r.addr, func(dir srttest.Direction, b []byte) srttest.Action {
		if h, ok := wire.AsHandshake(b); ok && dir == srttest.Down && h.Type() == wire.HandshakeInduction {
			offered.Store(8 * int64(h.Encryption()))
		}
		return srttest.Pass
	})
	pub := livePublish(t, link.Addr(), "live/x")
	if offered.Load() != 32 {
		t.Errorf("the relay advertises %d bytes, want 32", offered.Load())
	}
	sent := noise(1, 100)
	must(t, pub.feed(sent, time.Second))
	if got := o.awaitReceived("live/x", len(sent)); !bytes.Equal(sent, got) {
		t.Error(differ(sent, got))
	}
}
