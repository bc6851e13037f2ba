//go:build linux

package e2e

import (
	"fmt"
	"testing"

	"srtrelay/internal/srttest"
)

// Every form in which a server may say where it listens, and one without RTMP,
// registers and serves.
func TestCase35RegistrationForms(t *testing.T) {
	t.Parallel()
	r := startRelay(t)
	for i, form := range []string{
		"%d", ":%d", "udp://[::]:%d", "without rtmp",
		"0.0.0.0:%d", "[::]:%d", "udp://:%d", "udp://0.0.0.0:%d", "srt://0.0.0.0:%d",
	} {
		l := startMirror(t)
		s := serverAt(i, l.Addr())
		if s.NoRTMP = form == "without rtmp"; !s.NoRTMP {
			s.SRT = fmt.Sprintf(form, l.Addr().Port())
		}
		r.beat(s)
		r.awaitAlive(s)
		if got := r.listing()[s.id()]; got.Address != l.Addr().String() || got.Source != "registered" {
			t.Errorf("%s: %+v, want address %v", form, got, l.Addr())
		}
		// The others have a session each: the newest is the idle one.
		c := mustDial(t, r.addr, srttest.CallerOptions{StreamID: fmt.Sprintf("#!::r=live/s%d,m=publish", i)})
		connectionOf(t, c, l)
		echo(t, c, 1)
	}
}
