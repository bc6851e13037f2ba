//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// successor starts a relay that takes over from r, and waits until r has ended.
func (r *relay) successor(socket string, args ...string) *relay {
	r.t.Helper()
	next := r.challenge(socket, args...)
	next.awaitLog("relaying", func(logLine) bool { return true })
	if code := r.awaitExit(); code != 0 {
		r.t.Fatalf("the old process exits with %d:\n%s\nthe new one:\n%s", code, r.tail(), next.tail())
	}
	return next
}

// challenge starts a relay that takes over from r, where that is.
func (r *relay) challenge(socket string, args ...string) *relay {
	r.t.Helper()
	return startRelayBy(r.t, r.at, []string{binary}, r.challengeArgs(socket, args...)...)
}

func (r *relay) challengeArgs(socket string, args ...string) []string {
	mine := []string{"--takeover=require", "--takeover-socket", socket, "--api", r.api[len("http://"):]}
	for _, a := range r.all {
		mine = append(mine, "--listen", a.String())
	}
	return slices.Concat(mine, args)
}

// upgradeTest is true in make upgrade-test: there are more sessions, datagrams and take-overs,
// each of which takes its probation of 5 s.
var upgradeTest = os.Getenv("SRTRELAY_UPGRADE_TEST") != ""

// takeOvers is how many take-overs follow each other in a test.
func takeOvers() int {
	if upgradeTest {
		return 50
	}
	return 2
}

// Numbered datagrams go both ways through take-overs: none is lost, doubled, changed or
// overtaken, no session ends, and no process loses count or keeps what it does not need.
func TestTakeOversLoseNothing(t *testing.T) {
	t.Parallel()
	sessions, rate := 40, 4000
	if upgradeTest {
		sessions, rate = 200, 10000
	}
	socket := filepath.Join(t.TempDir(), "takeover.sock")
	mirror := startMirror(t)
	args := []string{"--shards=4", backendAt(mirror.Addr())}
	r := startRelay(t, append(slices.Clone(args), "--takeover-socket", socket)...)
	flows := dialFlows(t, openPort(t, loopback), r, sessions, rate)
	runAll(flows)
	var processes chain
	for range takeOvers() {
		awaitSent(flows, 10)
		r = r.successor(socket, args...)
		awaitSent(flows, 10)
		processes.add(r)
	}
	awaitSent(flows, 100)
	stopAll(flows)
	checkAll(flows, mirror)
	if st := r.stats(); st["established"] != uint64(sessions) || st["sessions"] != uint64(sessions) {
		t.Errorf("%d sessions established, %d there", st["established"], st["sessions"])
	}
	processes.check(t)
	t.Logf("%d datagrams each way through %d take-overs", sent(flows), takeOvers())
}

// A handshake that is begun with one process is completed by the next: gosrt's callers send
// each of its datagrams once.
func TestHandshakeAcrossTakeOver(t *testing.T) {
	t.Parallel()
	for name, style := range map[string]srttest.Style{"libsrt": srttest.LibsrtAsync, "gosrt": srttest.Gosrt} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket := filepath.Join(t.TempDir(), "takeover.sock")
			slow := startEcho(t)
			args := []string{"--shards=2", backendAt(slow.Addr())}
			r := startRelay(t, append(slices.Clone(args), "--takeover-socket", socket)...)
			r.awaitLog("backend alive", func(logLine) bool { return true })
			slow.SilentConclusion(true)
			port := openPort(t, loopback)
			s, err := port.Open(r.addr, srttest.CallerOptions{Style: style, Timeout: patience})
			must(t, err)
			connected := make(chan error, 1)
			go func() { connected <- s.Connect(patiently(t)) }()
			r.await("the handshake under way", func(st stats) bool { return st["half_open"] == 1 && st["resolving"] == 0 })
			next := r.challenge(socket, args...)
			next.awaitLog("taken over", func(logLine) bool { return true })
			slow.SilentConclusion(false)
			must(t, <-connected)
			echo(t, s, 10)
			if st := next.stats(); st["established"] != 1 {
				t.Errorf("%v", st)
			}
			r.awaitExit()
		})
	}
}

// Real libsrt with AES and ffmpeg stream through a take-over and connect once.
func TestRealStreamsAcrossTakeOver(t *testing.T) {
	t.Parallel()
	ffmpeg := need.Tool(t, "ffmpeg")
	socket := filepath.Join(t.TempDir(), "takeover.sock")
	o := startOrigin(t, "127.0.0.1", "-p", passphrase, "-k", "32", "-l", repairMS)
	args := []string{"--shards=2", backendAt(o.addr)}
	r := startRelay(t, append(slices.Clone(args), "--takeover-socket", socket)...)

	film := func(role string) string {
		return fmt.Sprintf("srt://%v?streamid=#!::r=live/film,m=%s&passphrase=%s&pbkeylen=32&latency=400000", r.addr, role, passphrase)
	}
	played := filepath.Join(t.TempDir(), "played.ts")
	player := startProgram(t, ffmpeg, "-hide_banner", "-loglevel", "warning",
		"-i", film("request"), "-c", "copy", "-t", strconv.Itoa(clipSeconds), "-f", "mpegts", played)
	r.awaitLog("session begun", func(l logLine) bool { return l.text("role") == "player" })
	pub := startProgram(t, ffmpeg, append(testClip(), film("publish"))...)
	r.awaitLog("session begun", func(l logLine) bool { return l.text("role") == "publisher" })

	live := &stream{
		relay: r, pub: livePublish(t, r.addr, "live/x", callerOptions(32)...),
		received: func() int { return o.size("live/x") }, content: func() []byte { return o.received("live/x") },
	}
	const lasting = 8 * time.Second
	live.sent = noise(1, int(lasting.Seconds()*messagesPerSecond))
	flowed := make(chan error, 1)
	go func() { flowed <- live.flow(lasting) }()

	next := r.successor(socket, args...)
	must(t, <-flowed)
	<-player.done // after clipSeconds of film
	if player.err != nil {
		t.Errorf("the player failed: %v\n%s", player.err, player.stderr.bytes())
	}
	pub.stop()
	if published := o.closed("publisher", "live/film"); count(published, "lost") != 0 || count(published, "keylen") != 32 {
		t.Errorf("origin: %v", published)
	}
	checkFilm(t, ffmpeg, played)
	if st := next.stats(); st["established"] != 3 {
		t.Errorf("%d sessions established, want 3", st["established"])
	}
}

// A take-over that fails leaves the old process as it was, and its streams go on.
func TestTakeOverFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		do   func(next *relay) // when it has taken over
		want string            // in the new process' log
	}{
		"other number of shards": {[]string{"--shards=3"}, nil, "shards may not differ: it is \"2\" here and \"3\" in the new process"},
		"killed in probation":    {[]string{"--shards=2"}, func(next *relay) { next.signal(syscall.SIGKILL) }, ""},
		"stopped in probation":   {[]string{"--shards=2"}, func(next *relay) { next.signal(syscall.SIGSTOP) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket := filepath.Join(t.TempDir(), "takeover.sock")
			backend := startEcho(t)
			r := startRelay(t, "--shards=2", "--takeover-socket", socket, backendAt(backend.Addr()))
			s := mustDial(t, r.addr, srttest.CallerOptions{})
			echo(t, s, 10)
			next := r.challengeFailing(socket, append(c.args, backendAt(backend.Addr()))...)
			if c.do != nil {
				next.awaitLog("taken over", func(logLine) bool { return true })
				echo(t, s, 10)
				c.do(next)
			}
			<-next.done
			if !strings.Contains(next.tail(), c.want) {
				t.Errorf("no %q in\n%s", c.want, next.tail())
			}
			r.awaitLog("take-over failed, this process goes on", func(logLine) bool { return true })
			echo(t, s, 10)
			echo(t, mustDial(t, r.addr, srttest.CallerOptions{StreamID: "live/new"}), 10)
			if err := s.Err(); err != nil {
				t.Error(err)
			}
			echo(t, s, 10)
			r.successor(socket, "--shards=2", backendAt(backend.Addr()))
			echo(t, s, 10)
		})
	}
}

// challengeFailing is challenge of a process that does not become the relay.
func (r *relay) challengeFailing(socket string, args ...string) *relay {
	r.t.Helper()
	next := newProcess(r.t, r.at, []string{binary}, r.challengeArgs(socket, args...)...)
	next.killed = true
	return next
}

// What may change across a take-over does: listeners, backends, the API's address. Sessions
// of a listener that the new configuration has not go on.
func TestTakeOverWithAnotherConfiguration(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "takeover.sock")
	one, two := startEcho(t), startEcho(t)
	r := startRelay(t, "--shards=2", "--takeover-socket", socket, "--listen=127.0.0.1:0", "--listen=127.0.0.2:0", backendAt(one.Addr()))
	kept := mustDial(t, r.all[0], srttest.CallerOptions{StreamID: "live/kept"})
	retired := mustDial(t, r.all[1], srttest.CallerOptions{StreamID: "live/retired"})
	next := startRelay(t, "--takeover=require", "--takeover-socket", socket, "--shards=2",
		"--listen", r.all[0].String(), "--listen=127.0.0.3:0", backendAt(two.Addr()))
	r.awaitExit()
	echo(t, kept, 10)
	echo(t, retired, 10)
	if _, err := tryDial(t, r.all[1], srttest.CallerOptions{Timeout: time.Second}); err == nil {
		t.Error("a listener that is gone takes a caller")
	}
	fresh := mustDial(t, next.all[1], srttest.CallerOptions{StreamID: "live/fresh"})
	echo(t, fresh, 10)
	if _, at := connectionOf(t, fresh, one, two); at != 1 {
		t.Error("a new stream went to the backend that is gone")
	}
	again := mustDial(t, r.all[0], srttest.CallerOptions{StreamID: "live/again"})
	echo(t, again, 10)
}
