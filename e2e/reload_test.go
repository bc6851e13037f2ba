//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/internal/srttest"
	"srtrelay/udp"
)

// reloaded is a relay with a configuration file that the test rewrites, and a session
// that carries media all the time.
type reloaded struct {
	*relay
	path  string
	feed  *eventFeed
	media *srttest.Session
	end   func()
}

// startReloaded starts a relay with a file and one session. What the session sends comes
// back from its backend, which end checks to the last packet.
func startReloaded(t *testing.T, text string, args ...string) *reloaded {
	t.Helper()
	c := &reloaded{path: filepath.Join(t.TempDir(), "relay.yaml")}
	must(t, os.WriteFile(c.path, []byte(text), 0o600))
	c.relay = startRelay(t, append([]string{"--config", c.path}, args...)...)
	c.media = mustDial(t, c.addr, srttest.CallerOptions{StreamID: "#!::r=live/kept,m=publish"})
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sent := uint64(0)
	sending.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if err := c.media.SendData(make([]byte, 1316)); err != nil {
					t.Errorf("the session that runs through all: %v", err)
					return
				}
				sent++
			}
		}
	})
	c.end = func() {
		close(stop)
		sending.Wait()
		c.end = func() {}
		await(t, c.media, "echo of all data", func() bool { return c.media.Counters().Received >= sent })
		if n := c.media.Counters(); n.Received != sent || n.Lost+n.Duplicated+n.Reordered+n.Stale != 0 {
			t.Errorf("of %d packets: %+v", sent, n)
		}
	}
	return c
}

// write puts another file in the place of the first, as editors do.
func (c *reloaded) write(format string, args ...any) {
	c.t.Helper()
	must(c.t, os.WriteFile(c.path+".new", fmt.Appendf(nil, format, args...), 0o600))
	must(c.t, os.Rename(c.path+".new", c.path))
}

// reload runs srtrelay reload, which must succeed, and returns what it prints, with one
// blank for many.
func (c *reloaded) reload(args ...string) string {
	c.t.Helper()
	code, stdout, stderr := c.command(append([]string{"reload"}, args...)...)
	if code != 0 {
		c.t.Fatalf("exit %d: %s", code, stderr)
	}
	return strings.Join(strings.Fields(stdout), " ")
}

func wantText(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%q lacks %q", got, w)
		}
	}
}

// Backends come and go; those that are removed keep their sessions.
func TestReloadBackends(t *testing.T) {
	t.Parallel()
	one, two := startEcho(t), startEcho(t)
	c := startReloaded(t, fmt.Sprintf("backend: srt://%s\n", one.Addr()))
	defer func() { c.end() }()
	c.write("backend: [\"srt://%s\", \"srt://%s?weight=3\"]\n", one.Addr(), two.Addr())
	wantText(t, c.reload(), "SETTING FROM TO IN FORCE backend srt://"+one.Addr().String(), " yes")
	c.awaitListing("both alive", func(all map[string]listed) bool {
		return all[one.Addr().String()].Alive && all[two.Addr().String()].Alive
	})

	c.write("backend: srt://%s\n", two.Addr())
	c.reload()
	for k := range 3 {
		s := mustDial(t, c.addr, srttest.CallerOptions{StreamID: fmt.Sprintf("#!::r=live/%d,m=publish", k)})
		if _, at := connectionOf(t, s, one, two); at != 1 {
			t.Error("a new stream is on the backend that was removed")
		}
		must(t, s.SendShutdown())
	}
	if _, list, _ := c.command("backends"); !strings.Contains(list, " removed ") {
		t.Errorf("the list does not show it:\n%s", list)
	}
	if n := len(c.log("backend forgotten")); n != 0 {
		t.Error("a backend was forgotten that has a session")
	}
	c.end()
	must(t, c.media.SendShutdown())
	gone := c.awaitLog("backend forgotten", func(logLine) bool { return true })
	if gone.text("backend") != one.Addr().String() || gone.text("reason") != "no longer in the configuration" {
		t.Errorf("%v", gone)
	}
}

// With another token the old one is refused, at once.
func TestReloadTokens(t *testing.T) {
	t.Parallel()
	const format = "backend: srt://%s\nregister-token: %s\n"
	at := startEcho(t).Addr()
	c := startReloaded(t, fmt.Sprintf(format, at, "first-token"))
	defer func() { c.end() }()
	try := func(token string, want int) {
		t.Helper()
		code, _, stderr := c.command("reload", "--register-token", token)
		if code != want {
			t.Errorf("with %s: exit %d, want %d: %s", token, code, want, stderr)
		}
	}
	try("first-token", 0)
	try("second-token", 1)
	c.write(format, at, "second-token")
	if text := c.reload("--register-token", "first-token"); strings.Contains(text, "-token ***") == strings.Contains(text, "second") {
		t.Errorf("%s", text)
	}
	try("first-token", 1)
	try("second-token", 0)
	c.mu.Lock()
	defer c.mu.Unlock()
	if log := c.raw.String(); strings.Contains(log, "first-token") || strings.Contains(log, "second-token") {
		t.Error("a token is in the log")
	}
}

// What needs a new process is named, and the rest is in force. A limit counts for the
// next caller, and flags override the file as at the start.
func TestReloadLimitsAndOthers(t *testing.T) {
	t.Parallel()
	at := startEcho(t).Addr()
	c := startReloaded(t, fmt.Sprintf("backend: srt://%s\n", at))
	defer func() { c.end() }()
	c.feed = c.follow("&kind=config-reloaded")
	c.write("backend: srt://%s\nmax-sessions: 1\nshards: 7\ngrace: 9s\npolicy: hash\n", at)
	text := c.reload()
	wantText(t, text, "policy least-sessions hash yes", "no, needs srtrelay upgrade", "max-sessions 100000 1 yes")
	if strings.Contains(text, "grace") {
		t.Errorf("a flag has lost against the file: %s", text)
	}
	line := c.awaitLog("settings in the configuration file are not in force, which needs srtrelay upgrade", func(logLine) bool { return true })
	if fmt.Sprint(line["settings"]) != "[shards]" {
		t.Errorf("%v", line)
	}
	if e := c.feed.await(answer.EventConfigReloaded); e.Cause != "in force: policy, max-sessions; needs srtrelay upgrade: shards" {
		t.Errorf("%+v", e)
	}
	_, err := tryDial(t, c.addr, srttest.CallerOptions{StreamID: "#!::r=live/more,m=publish"})
	if err != nil {
		wantRejection(t, err, 2402)
	} else if len(c.shards()) == 1 {
		t.Error("a second session within a limit of one")
	}
	c.write("backend: srt://%s\n", at)
	c.signal(syscall.SIGHUP)
	e := c.feed.await(answer.EventConfigReloaded)
	if e.Cause != "in force: policy, max-sessions" {
		t.Errorf("%+v", e)
	}
	must(t, mustDial(t, c.addr, srttest.CallerOptions{StreamID: "#!::r=live/more,m=publish"}).SendShutdown())
}

// The ledger has memory for the sessions of the start, and does not grow.
func TestReloadBeyondTheLedger(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/dev/shm", "srtrelay")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	format := "backend: srt://" + startEcho(t).Addr().String() + "\nmax-sessions: %d\n"
	c := startReloaded(t, fmt.Sprintf(format, 100), "--session-ledger", filepath.Join(dir, "ledger"))
	defer func() { c.end() }()
	c.write(format, 1024)
	wantText(t, c.reload(), "max-sessions 100 1024 yes")
	c.write(format, 1025)
	wantText(t, c.reload(), "max-sessions 1024 1025 no, needs srtrelay upgrade: at most 1024: ")
	wantText(t, c.reload("--json"), `"need_upgrade": [ "max-sessions" ]`)
}

// A reload before a take-over and one after it: the new process goes on with what is in
// force, and with the backend that is draining.
func TestReloadAroundTakeOver(t *testing.T) {
	t.Parallel()
	one, two := startEcho(t), startEcho(t)
	socket := filepath.Join(t.TempDir(), "takeover.sock")
	c := startReloaded(t, fmt.Sprintf("backend: srt://%s\n", one.Addr()), "--takeover-socket", socket)
	defer func() { c.end() }()
	c.write("backend: srt://%s\naffinity: 7s\n", two.Addr())
	c.reload()
	c.relay = c.successor(socket, "--config", c.path)
	if _, list, _ := c.command("backends"); !strings.Contains(list, " removed ") {
		t.Errorf("the list does not show what the old process had removed:\n%s", list)
	}
	wantText(t, c.reload(), "no setting has changed")
	c.write("backend: [\"srt://%s\", \"srt://%s\"]\n", one.Addr(), two.Addr())
	wantText(t, c.reload(), "affinity 7s 15s yes", "backend srt://")
	c.awaitListing("the backend is back", func(all map[string]listed) bool {
		b := all[one.Addr().String()]
		return b.Alive && !b.Draining && b.Sessions == 1
	})
}

// Whatever is wrong with the file, nothing changes, and the answer is what srtrelay check
// prints.
func TestReloadRefuses(t *testing.T) {
	t.Parallel()
	at := startEcho(t).Addr()
	good := fmt.Sprintf("backend: srt://%s\n", at)
	c := startReloaded(t, good)
	defer func() { c.end() }()
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	must(t, os.WriteFile(rules, []byte("default: [not, a, stream]\n"), 0o600))
	before := c.listing()
	remove := func() { must(t, os.RemoveAll(c.path)) }
	for name, prepare := range map[string]func(){
		"value":      func() { c.write("backend: [\"srt://127.0.0.1:1\"]\nlog-level: loud\n") },
		"key":        func() { c.write("max-session: 5\n") },
		"YAML":       func() { c.write("a: [\n") },
		"overridden": func() { c.write("grace: soon\n") },
		"itself":     func() { c.write("backend: [\"srt://127.0.0.1:1\", \"srt://%s\"]\n", c.addr) },
		"rules":      func() { c.write("%srules: %s\nmax-sessions: 1\n", good, rules) },
		"key pair":   func() { c.write("%sapi-tls-cert: /none\napi-tls-key: /none\nmax-sessions: 1\n", good) },
		"gone":       remove,
		"folder":     func() { remove(); must(t, os.Mkdir(c.path, 0o700)) },
		"pipe":       func() { remove(); must(t, syscall.Mkfifo(c.path, 0o600)) },
		// A regular file that cannot be read, by root either.
		"unreadable": func() { remove(); must(t, os.Symlink("/proc/self/mem", c.path)) },
	} {
		prepare()
		failed := len(c.log("configuration not reloaded, nothing has changed"))
		code, stdout, stderr := c.command("reload")
		if code != 1 || stdout != "" {
			t.Errorf("%s: exit %d, %q", name, code, stdout)
		}
		if name != "pipe" && name != "folder" && name != "itself" && name != "unreadable" { // the check would wait, or does not know
			_, _, want := c.command("check", "--config", c.path)
			if line, ok := strings.CutPrefix(want, "srtrelay: "); !ok || !strings.HasSuffix(stderr, ": "+line) {
				t.Errorf("%s: %swant %s", name, stderr, want)
			}
		}
		c.signal(syscall.SIGHUP)
		c.awaitLog("configuration not reloaded, nothing has changed", func(logLine) bool {
			return len(c.log("configuration not reloaded, nothing has changed")) == failed+2
		})
		remove()
	}
	for id, b := range c.listing() {
		if before[id].Alive != b.Alive || b.Draining || len(before) != 1 {
			t.Errorf("%s has changed: %+v", id, b)
		}
	}
	c.write("%s", good)
	wantText(t, c.reload(), "no setting has changed in "+c.path)
	var text string
	c.scrape(&text)
	wantText(t, text, `srtrelay_config_reloads_total{result="failure"} 22`, `srtrelay_config_reloads_total{result="success"} 1`)
}

// scrape reads the metrics.
func (c *reloaded) scrape(into *string) {
	c.t.Helper()
	status, text := c.call(http.MethodGet, "/metrics", "")
	if *into = text; status != http.StatusOK {
		c.t.Fatalf("/metrics: %d", status)
	}
}

// A ConfigMap is a folder behind a symbolic link that Kubernetes turns.
func TestReloadConfigMap(t *testing.T) {
	t.Parallel()
	at := startEcho(t).Addr()
	dir := t.TempDir()
	version := func(name, text string) {
		t.Helper()
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, name, "relay.yaml"), []byte(text), 0o600))
		must(t, os.WriteFile(filepath.Join(dir, name, "rules.yaml"), []byte("default: \"#!::r=live/"+name+",m=publish\"\n"), 0o600))
		must(t, os.Symlink(name, filepath.Join(dir, "..new")))
		must(t, os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")))
	}
	format := "backend: srt://%s\nrules: " + filepath.Join(dir, "..data", "rules.yaml") + "\n"
	version("one", fmt.Sprintf(format, at))
	r := startRelay(t, "--config", filepath.Join(dir, "..data", "relay.yaml"))
	wantRoute(t, r, srttest.CallerOptions{}, "__defaultVhost__/live/one", "publisher")
	version("two", fmt.Sprintf(format+"affinity: 3s\n", at))
	must(t, os.RemoveAll(filepath.Join(dir, "one")))
	r.signal(syscall.SIGHUP)
	line := r.awaitLog("configuration reloaded", func(logLine) bool { return true })
	if fmt.Sprint(line["applied"]) != "[affinity]" {
		t.Errorf("%v", line)
	}
	wantRoute(t, r, srttest.CallerOptions{}, "__defaultVhost__/live/two", "publisher")
}

// Rules come with a reload, change with the name of their file, and go. What is wrong with
// another file leaves those in force.
func TestReloadRules(t *testing.T) {
	t.Parallel()
	at := startEcho(t).Addr()
	c := startReloaded(t, fmt.Sprintf("backend: srt://%s\n", at))
	defer func() { c.end() }()
	first, rewrite := rulesFile(t, "default: \"#!::r=live/first,m=publish\"\n")
	second, _ := rulesFile(t, "default: \"#!::r=live/second,m=publish\"\n")
	bad, _ := rulesFile(t, "default: [bad]\n")
	with := func(rules string) { c.write("backend: srt://%s\n%s", at, rules) }

	with("rules: " + first + "\n")
	wantText(t, c.reload(), "rules in force from "+first, "rules none "+clip(first))
	wantRoute(t, c.relay, srttest.CallerOptions{}, "__defaultVhost__/live/first", "publisher")
	with("rules: " + bad + "\n")
	if code, _, stderr := c.command("reload"); code != 1 || !strings.Contains(stderr, "rules: "+bad+":1: ") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	wantRoute(t, c.relay, srttest.CallerOptions{}, "__defaultVhost__/live/first", "publisher")
	with("rules: " + second + "\n")
	c.reload()
	wantRoute(t, c.relay, srttest.CallerOptions{}, "__defaultVhost__/live/second", "publisher")
	before := len(c.log("rules in force"))
	rewrite("default: \"#!::r=live/third,m=publish\"\n") // nobody looks at it any more
	with("")
	c.reload()
	s := mustDial(t, c.addr, srttest.CallerOptions{})
	if b := c.begunBy(s); b.text("stream") == "__defaultVhost__/live/second" {
		t.Error("the rules are still in force")
	}
	if after := len(c.log("rules in force")); after != before {
		t.Errorf("%d times rules in force, want %d", after, before)
	}
}

// clip is what the table shows of a name that is long.
func clip(name string) string {
	if len(name) > 39 {
		return name[:39]
	}
	return name
}

// systemd learns when a reload begins and ends.
func TestServiceManagerLearnsOfReloads(t *testing.T) {
	t.Parallel()
	m := newServiceManager(t)
	r := m.start(time.Minute, backendAt(startEcho(t).Addr()))
	m.await("READY=1")
	before, err := udp.Monotonic()
	must(t, err)
	r.signal(syscall.SIGHUP)
	var began int64
	_, err = fmt.Sscanf(m.await("RELOADING=1"), "RELOADING=1\nMONOTONIC_USEC=%d", &began)
	must(t, err)
	if began < before.Microseconds() {
		t.Errorf("the reload began at %d, the signal was sent at %d", began, before.Microseconds())
	}
	m.await("READY=1")
}

// Without a configuration file SIGHUP says so, and does not end the process.
func TestReloadWithoutFile(t *testing.T) {
	t.Parallel()
	r := startRelay(t, backendAt(startEcho(t).Addr()))
	r.signal(syscall.SIGHUP)
	r.awaitLog("nothing to reload: there is neither a configuration file nor a file of rules", func(logLine) bool { return true })
	echo(t, mustDial(t, r.addr, srttest.CallerOptions{}), 5)
}

// The file of cookie secrets is read again without a configuration file too: whoever changes a
// secret was told that nothing had changed.
func TestReloadSaysThatSecretsAreReadAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secrets")
	const one, two = "first-secret-of-32-letters-or-more", "second-secret-of-32-letters-or-more"
	must(t, os.WriteFile(file, []byte(one+"\n"), 0o600))
	c := &reloaded{relay: startRelay(t, "--cookie-secret-file", file, backendAt(startEcho(t).Addr()))}
	must(t, os.WriteFile(file, []byte(two+"\n"+one+"\n"), 0o600))
	wantText(t, c.reload(), "there is no configuration file", "shared secrets in force from their file: 2")
	wantText(t, c.reload("--json"), `"cookie_secrets": 2`)
	_, events, _ := c.command("events", "--since", "1m", "--no-follow")
	wantText(t, events, "there is no configuration file; shared secrets in force: 2")
}

// A thousand signals, and calls of the API meanwhile, while the file changes.
func TestReloadStorm(t *testing.T) {
	t.Parallel()
	at := startEcho(t).Addr()
	format := "backend: [\"srt://%s\"%s]\nmax-sessions: %d\nidle-timeout: %ds\nread-token: reader-%d\nregister-token: the-full-token\n"
	c := startReloaded(t, fmt.Sprintf(format, at, "", 1000, 30, 1000))
	defer func() { c.end() }()
	goroutines := c.goroutines()
	var calls sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		calls.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				status, text, err := c.tryCall(http.MethodPost, "/api/v1/reload?token=the-full-token", "")
				if err != nil || status != http.StatusOK {
					t.Errorf("%d %s, %v", status, text, err)
					return
				}
			}
		})
	}
	for k := range 1000 {
		if k%10 == 0 {
			more := map[bool]string{true: ", \"srt://127.0.0.1:9\", \"srt://localhost:9\""}[k%20 == 0]
			c.write(format, at, more, 1000+k, 30+k%7, 1000+k)
		}
		c.signal(syscall.SIGHUP)
	}
	close(stop)
	calls.Wait()
	c.write(format, at, "", 1000, 31, 7777)
	c.reload("--register-token", "the-full-token") // the last signal may have come before it
	if status, _ := c.call(http.MethodGet, "/api/v1/backends?token=reader-7777", ""); status != http.StatusOK {
		t.Errorf("status %d with the last token", status)
	}
	if n := len(c.log("configuration not reloaded, nothing has changed")); n != 0 {
		t.Errorf("%d reloads failed", n)
	}
	t.Logf("%d reloads", len(c.log("configuration reloaded")))
	if !eventually(func() bool { return c.goroutines() <= goroutines+5 }) {
		t.Fatalf("%d goroutines, before %d", c.goroutines(), goroutines)
	}
}

// goroutines returns how many the relay has.
func (c *reloaded) goroutines() (n int) {
	c.t.Helper()
	status, text := c.call(http.MethodGet, "/metrics?token=the-full-token", "")
	_, rest, found := strings.Cut(text, "\ngo_goroutines ")
	if _, err := fmt.Sscan(rest, &n); err != nil || !found {
		c.t.Fatalf("/metrics: %d, no number of goroutines", status)
	}
	return n
}
