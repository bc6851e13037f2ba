//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"srtrelay/bench/lab"
	"srtrelay/internal/clocale"
	"srtrelay/internal/srttest"
)

// patience bounds every wait for an event. It is never a measure: on a busy
// machine an event may take long, and a test that waits that long has failed.
const patience = 20 * time.Second

// eventually asks until cond holds, or patience is over. It is for what has no event to wait
// for. What takes long is asked for ever more rarely: an answer of a relay with the race
// detector costs milliseconds, which the tests beside it need.
func eventually(cond func() bool) bool {
	const most = 50 * time.Millisecond
	deadline := time.Now().Add(patience)
	for wait := 10 * time.Millisecond; !cond(); wait = min(wait*11/10, most) {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(wait)
	}
	return true
}

// binary is the relay under test, built once.
var binary string

// raced builds the relay under test with the race detector. The tests
// themselves need none: they are another process, and with it they would bring
// a browser's and an API validator's libraries to compile a second time.
var raced = os.Getenv("SRTRELAY_TEST_RACE") != ""

// raceOptions are those of the race detector in all that the tests start. By default each
// process that has it, as every command of the relay's binary, sleeps for a second at its end.
const raceOptions = "halt_on_error=0 exitcode=66 atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if done, code := setKernelPath(); done {
			return code
		}
		runManyAtOnce()
		if err := os.Setenv("GORACE", raceOptions); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if binary = os.Getenv(inNamespace); binary != "" {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "srtrelay-e2e")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "srtrelay")
		if err := build(binary, raced); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// runManyAtOnce has three times as many tests run at once as there are CPUs, unless the
// command line says how many: they mostly wait.
func runManyAtOnce() {
	const name = "test.parallel"
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if !given {
		_ = flag.Set(name, strconv.Itoa(3*runtime.GOMAXPROCS(0))) // a number, so that it cannot fail
	}
}

// build compiles the relay. Without the profile, which would have every package
// below it compiled anew.
func build(to string, race bool) error {
	args := []string{"build", "-pgo=off", "-o", to}
	if race {
		args = append(args, "-race")
	}
	if out, err := clocale.Command("go", append(args, "srtrelay/cmd/srtrelay")...).CombinedOutput(); err != nil {
		return fmt.Errorf("build srtrelay: %w\n%s", err, out)
	}
	return nil
}

// relay is a running srtrelay process.
type relay struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr netip.AddrPort // the first listen address
	all  []netip.AddrPort
	api  string          // http://host:port
	at   *lab.Namespace  // where the process is; nil for the test's own
	http *http.Transport // to there; nil for the default one
	done chan struct{}
	err  error // of the process; valid after done

	mu       sync.Mutex
	lines    []logLine
	raw      bytes.Buffer
	lineRead srttest.Notifier // at every line, and at the end
	strict   bool
	killed   bool // by the test: its exit code says so
	// hostile says that the test sends control packets that no peer sends.
	hostile bool
}

// logLine is one JSON log line.
type logLine map[string]any

func (l logLine) text(key string) string {
	s, _ := l[key].(string)
	return s
}

// number returns a numeric attribute, or -1.
func (l logLine) number(key string) int64 {
	f, ok := l[key].(float64)
	if !ok {
		return -1
	}
	return int64(f)
}

// startRelay runs the binary with one IPv4 loopback listener, unless the
// arguments name others, and waits until it relays. The test's end stops it
// and checks that it exited cleanly, without a panic or a data race, and that
// every datagram it received met exactly one fate.
func startRelay(t *testing.T, args ...string) *relay {
	t.Helper()
	return startRelayBy(t, nil, []string{binary}, args...)
}

// startRelayIn is startRelay in a network namespace.
func startRelayIn(t *testing.T, at *lab.Namespace, args ...string) *relay {
	t.Helper()
	return startRelayBy(t, at, []string{binary}, args...)
}

// startRelayBy is startRelay in a network namespace, nil for the test's own, with a command
// in front of the arguments that becomes the relay.
func startRelayBy(t *testing.T, at *lab.Namespace, by []string, args ...string) *relay {
	t.Helper()
	r := newProcess(t, at, by, args...)
	r.awaitRelaying()
	return r
}

// newProcess starts the process of startRelayBy.
func newProcess(t *testing.T, at *lab.Namespace, by []string, args ...string) *relay {
	t.Helper()
	return newProcessWith(t, at, by, nil, args...)
}

// newProcessWith is newProcess with descriptors that the process inherits, from 3 on.
func newProcessWith(t *testing.T, at *lab.Namespace, by []string, inherited []*os.File, args ...string) *relay {
	t.Helper()
	base := []string{"--log-format", "json", "--log-level", "debug", "--grace", "100ms"}
	if !slices.Contains(args, "--api") {
		base = append(base, "--api", "127.0.0.1:0")
	}
	if !strings.Contains(strings.Join(args, " "), "--overload") {
		base = append(base, "--overload=off") // a relay on a busy machine is overloaded, and refuses callers
	}
	if !strings.Contains(strings.Join(args, " "), "--listen") {
		base = append(base, "--listen", "127.0.0.1:0")
	}
	r := &relay{t: t, at: at, done: make(chan struct{}), strict: true}
	start := func() error { return r.cmd.Start() }
	if at != nil {
		start = func() error { return at.Do(r.cmd.Start) }
		r.http = transportIn(at)
		t.Cleanup(r.http.CloseIdleConnections)
	}
	r.cmd = clocale.Command(by[0], slices.Concat(by[1:], base, args)...)
	// A test that is killed must not leave its relay behind.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r.cmd.ExtraFiles = inherited
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	go r.read(stderr)
	t.Cleanup(r.finish)
	return r
}

// awaitRelaying waits until the process relays, and notes where.
func (r *relay) awaitRelaying() {
	r.t.Helper()
	started := r.awaitLog("relaying", func(logLine) bool { return true })
	for _, a := range started["listen"].([]any) {
		r.all = append(r.all, netip.MustParseAddrPort(a.(string)))
	}
	r.addr = r.all[0]
	r.api = "http://" + started.text("api")
}

// transportIn reaches servers in a network namespace.
func transportIn(at *lab.Namespace) *http.Transport {
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = at.Do(func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	return &http.Transport{DialContext: dial}
}

// client reaches the API.
func (r *relay) client() *http.Client {
	c := &http.Client{Timeout: patience}
	if r.http != nil {
		c.Transport = r.http
	}
	return c
}

// read collects the log until the process ends.
func (r *relay) read(stderr io.Reader) {
	scan := bufio.NewScanner(stderr)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var l logLine
		_ = json.Unmarshal(scan.Bytes(), &l)
		r.mu.Lock()
		r.raw.Write(scan.Bytes())
		r.raw.WriteByte('\n')
		if l != nil {
			r.lines = append(r.lines, l)
		}
		r.mu.Unlock()
		r.lineRead.Notify()
	}
	r.err = r.cmd.Wait()
	close(r.done)
	r.lineRead.Notify()
}

// log returns the lines with this message so far.
func (r *relay) log(msg string) []logLine {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []logLine
	for _, l := range r.lines {
		if l.text("msg") == msg {
			found = append(found, l)
		}
	}
	return found
}

// awaitLog waits for a line with this message that satisfies cond.
func (r *relay) awaitLog(msg string, cond func(logLine) bool) (found logLine) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience) // also for cleanups
	defer cancel()
	if err := r.lineRead.Await(ctx, func() bool {
		ended := r.hasEnded()
		for _, l := range r.log(msg) {
			if cond(l) {
				found = l
				return true
			}
		}
		return ended
	}); err != nil {
		r.t.Fatalf("no log line %q within %v:\n%s", msg, patience, r.tail())
	}
	if found == nil {
		r.t.Fatalf("srtrelay ended (%v) without logging %q:\n%s", r.err, msg, r.tail())
	}
	return found
}

// hasEnded reports whether the process has ended and all of its log is read.
func (r *relay) hasEnded() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// tail returns the end of the log for failure messages.
func (r *relay) tail() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.raw.Bytes()
	return string(b[max(0, len(b)-4000):])
}

// signal sends a signal to the process.
func (r *relay) signal(s os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// awaitExit waits for the process to end and returns its exit code.
func (r *relay) awaitExit() int {
	r.t.Helper()
	select {
	case <-r.done:
		return r.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		r.t.Fatalf("srtrelay did not exit within %v:\n%s", patience, r.tail())
		return -1
	}
}

// finish is the end of every test's relay.
func (r *relay) finish() {
	select {
	case <-r.done:
	default:
		if !r.t.Failed() && r.strict {
			r.checkFates()
		}
		if !r.hostile && r.strict {
			if dropped := r.shielded(); len(dropped) > 0 {
				r.t.Errorf("the shield has dropped what a peer sent: %v", dropped)
			}
		}
		_ = r.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-r.done:
		case <-time.After(patience):
			_ = r.cmd.Process.Kill()
			<-r.done
			r.t.Errorf("srtrelay did not stop on SIGTERM:\n%s", r.tail())
			return
		}
	}
	if code := r.cmd.ProcessState.ExitCode(); code != 0 && !r.killed {
		r.t.Errorf("srtrelay: exit code %d, want 0:\n%s", code, r.tail())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if bytes.Contains(r.raw.Bytes(), []byte(bad)) {
			r.t.Errorf("srtrelay printed %q:\n%s", bad, r.raw.String())
		}
	}
}

// stats are the counters of all shards added up, by name.
type stats map[string]uint64

// get asks the API for a path and decodes the answer's data.
func (r *relay) get(path string, into any) {
	r.t.Helper()
	res, err := r.client().Get(r.api + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	answer := struct{ Data any }{into}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		r.t.Fatalf("GET %s: %v", path, err)
	}
}

// shardStats are the counters of one shard.
type shardStats struct {
	Shard     int
	Drops     stats
	SendDrops stats `json:"send_drops"`
	Counters  stats
}

// shards returns the counters of each shard.
func (r *relay) shards() []shardStats {
	r.t.Helper()
	var data struct{ Shards []shardStats }
	r.get("/api/v1/shards", &data)
	return data.Shards
}

// stats returns all counters, drops and send drops included, over all shards.
func (r *relay) stats() stats {
	r.t.Helper()
	sum := stats{}
	for _, s := range r.shards() {
		for _, group := range []stats{s.Counters, s.Drops, s.SendDrops} {
			for name, n := range group {
				if name != "kernel_drops" || group["kernel_drops"] == n {
					sum[name] += n
				}
			}
		}
	}
	return sum
}

// drops returns the sum of received datagrams that went nowhere.
func (r *relay) drops() (sum uint64) {
	for _, s := range r.shards() {
		for _, n := range s.Drops {
			sum += n
		}
	}
	return sum
}

// await waits until the counters satisfy cond.
func (r *relay) await(what string, cond func(stats) bool) (st stats) {
	r.t.Helper()
	if !eventually(func() bool { st = r.stats(); return cond(st) }) {
		r.t.Fatalf("%s: not within %v; counters %v\n%s", what, patience, st, r.tail())
	}
	return st
}

// awaitEmpty waits until no trace of a session is left.
func (r *relay) awaitEmpty() {
	r.t.Helper()
	r.await("all sessions freed", func(st stats) bool { return st["sessions"] == 0 && st["half_open"] == 0 })
}

// checkFates checks the relay's counters: every datagram that was received was forwarded,
// answered, parked, consumed or dropped for a reason, once. A shard publishes its counters
// one by one, so checkFates waits for a moment without traffic.
func (r *relay) checkFates() {
	r.t.Helper()
	var received, fates uint64
	if !eventually(func() bool {
		fates = r.drops()
		st := r.stats()
		received = st["received_front"] + st["received_back"]
		fates += st["forwarded_to_backend"] + st["forwarded_to_caller"] +
			st["answered"] + st["parked"] + st["consumed"] + st["passed_on"]
		return received == fates
	}) {
		r.t.Errorf("received %d datagrams, but %d fates", received, fates)
	}
}

// openFDs counts the process's file descriptors.
func (r *relay) openFDs() int {
	r.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.cmd.Process.Pid))
	if err != nil {
		r.t.Fatal(err)
	}
	return len(entries)
}

// residentKiB is the process's resident memory.
func (r *relay) residentKiB() int {
	r.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		r.t.Fatal(err)
	}
	var kib int
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			_, _ = fmt.Sscan(rest, &kib)
		}
	}
	return kib
}
