//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/clocale"
	"srtrelay/internal/srttest"
)

// unread is a relay whose log has a reader that stops when the relay has
// started: it stands still, or is gone.
type unread struct {
	*relay
	log *os.File // the reading end
}

// startUnread starts a relay and reads its log until it relays.
func startUnread(t *testing.T, args ...string) *unread {
	t.Helper()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { from.Close() })
	r := &relay{t: t, done: make(chan struct{})}
	r.cmd = clocale.Command(binary, append([]string{
		"--api", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug", "--grace", "100ms", "--overload", "off",
	}, args...)...)
	r.cmd.Stderr = to
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	to.Close()
	go func() {
		r.err = r.cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(func() {
		select {
		case <-r.done:
		default:
			_ = r.cmd.Process.Kill()
			<-r.done
		}
	})
	scan := bufio.NewScanner(from)
	for scan.Scan() {
		var l logLine
		if json.Unmarshal(scan.Bytes(), &l) == nil && l.text("msg") == "relaying" {
			r.addr = netip.MustParseAddrPort(l["listen"].([]any)[0].(string))
			r.api = "http://" + l.text("api")
			return &unread{r, from}
		}
	}
	t.Fatal("the relay did not start")
	return nil
}

// fill makes more log lines than the 64 KiB of a pipe take: callers that come
// and go. One session is left, the test's own.
func (u *unread) fill(streams int) {
	u.t.Helper()
	for i := range streams {
		s := mustDial(u.t, u.addr, srttest.CallerOptions{StreamID: fmt.Sprintf("#!::r=live/%s%d,m=publish", strings.Repeat("x", 200), i)})
		if err := s.SendShutdown(); err != nil {
			u.t.Fatal(err)
		}
	}
	u.await("their sessions to be freed", func(st stats) bool { return st["sessions"] == 1 })
}

// A log that nobody reads, or whose reader is gone, stops neither callers nor
// streams nor the API nor the prober, and the relay ends in time, by one signal
// and by two.
func TestLogIsNotRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		gone    bool
		signals int
	}{{"stalled", false, 1}, {"stalled, two signals", false, 2}, {"gone", true, 1}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, err := srttest.NewListener(srttest.ListenerConfig{Local: loopback, Mode: srttest.Echo})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			grace := "100ms"
			if c.signals > 1 {
				grace = "10m"
			}
			u := startUnread(t, "--backend", "srt://"+l.Addr().String(), "--grace", grace)
			if c.gone {
				u.log.Close()
			}
			live := mustDial(t, u.addr, srttest.CallerOptions{StreamID: "#!::r=live/stays,m=publish"})
			u.fill(150) // 150 times two lines of 500 bytes and more
			for range 10 {
				if err := live.SendData(make([]byte, 1316)); err != nil {
					t.Fatal(err)
				}
			}
			if err := live.Await(patiently(t), func() bool { return live.Counters().Received == 10 }); err != nil {
				t.Fatalf("%v: %+v", err, live.Counters())
			}
			l.Close() // which the prober finds, and says
			if !eventually(func() bool {
				var data struct {
					Backends []struct{ Alive bool }
				}
				u.get("/api/v1/backends", &data)
				return len(data.Backends) == 1 && !data.Backends[0].Alive
			}) {
				t.Fatal("the prober stands still")
			}
			for range c.signals {
				u.signal(syscall.SIGTERM)
				time.Sleep(50 * time.Millisecond) // two at once would be one
			}
			if code := u.awaitExit(); code != 0 {
				t.Errorf("exit code %d (%v)", code, u.err)
			}
		})
	}
}
