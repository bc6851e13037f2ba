package takeover

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/internal/clocale"
	"srtrelay/internal/supervise"
)

// The tests start this binary again as a giver and as a taker. A process that runs holds
// the lock of a file, so that no two can.

const roleVariable = "SRTRELAY_TAKEOVER_TEST"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "giver":
		giverMain()
	case "taker":
		takerMain()
	case "launched":
		launchedMain()
	default:
		// The tests wait for other processes' timeouts, and hardly need a CPU.
		flag.Parse()
		_ = flag.Set("test.parallel", "12")
		os.Exit(m.Run())
	}
}

const (
	manyFiles = 300 // more than fit into a message
	lateFiles = 2
)

var (
	testSettings = map[string]string{"shards": "4"}
	testHello    = Hello{Version: "new", Settings: testSettings, Snapshots: []int{1, 2}}
)

// say prints a line for the test.
func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// running is the right to run: at most one process has it.
type running struct{ file *os.File }

func (r *running) begin() {
	file, err := os.OpenFile(os.Getenv("LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		say("two run: %v", err)
		os.Exit(7)
	}
	r.file = file
}

func (r *running) end() {
	_ = r.file.Close()
	r.file = nil
}

// fault does what the test wants to happen at a point.
func fault(point string) {
	at, what, _ := strings.Cut(os.Getenv("FAULT"), " ")
	if at != point {
		return
	}
	switch what {
	case "exit":
		os.Exit(1)
	case "panic":
		panic("as the test wants it")
	case "kill":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	case "stop":
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
		time.Sleep(100 * time.Millisecond) // it may not be at once
	case "hang":
		time.Sleep(time.Hour)
	}
}

func files(n int) (all []File) {
	for i := range n {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			panic(err)
		}
		all = append(all, File{Kind: "front", Shard: i / 10, Index: i % 10, Name: "127.0.0.1:1", FD: fd})
	}
	return all
}

func testParts() []Part {
	return []Part{{"shard", 0, []byte(strings.Repeat("state", 1e5))}, {"shard", 1, nil}, {"relay", 0, []byte("x")}}
}

func testOffer(r *running, left func()) Offer {
	return Offer{
		Version: "old", Settings: testSettings, Snapshots: []int{2, 3},
		Files: func() ([]File, error) {
			fault("give-files")
			if os.Getenv("FAULT") == "give-files error" {
				return files(3), errors.New("as the test wants it")
			}
			return files(manyFiles), nil
		},
		Freeze: func(context.Context, int) (Frozen, error) {
			r.end()
			fault("freeze")
			f := Frozen{Parts: testParts(), Files: files(lateFiles)}
			if os.Getenv("FAULT") == "freeze error" {
				return f, errors.New("as the test wants it")
			}
			return f, nil
		},
		Park: func(int) { fault("park") },
		Resume: func(reason error) {
			if r.file == nil {
				r.begin()
			}
			say("resumed: %v", reason)
		},
		Leave: func(int) {
			left()
			say("left")
		},
	}
}

func testLog() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stdout, nil)) }

// giverMain runs a giver until its input ends or a taker has settled.
func giverMain() {
	r := new(running)
	r.begin()
	ctx, end := context.WithCancel(context.Background())
	g, err := Listen(os.Getenv("SOCKET"), testOffer(r, func() { fault("leave") }), testLog(), supervise.New(testLog()))
	if err != nil {
		say("error: %v", err)
		os.Exit(1)
	}
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			say("open files: %d", openFiles())
		}
		end()
	}()
	say("listening")
	if os.Getenv("FAULT") == "spawn" {
		taker := clocale.Command(os.Args[0])
		taker.Env = append(os.Environ(), roleVariable+"=taker", "FAULT=")
		taker.Stdout = os.Stdout
		go func() { _ = taker.Run() }()
	}
	g.Run(ctx)
	say("ended")
	os.Exit(0)
}

func openFiles() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(names)
}

// takerMain takes over. It runs until its input ends.
func takerMain() {
	r := new(running)
	giver, err := takeOver(r)
	if err != nil {
		say("error: %v", err)
		os.Exit(1)
	}
	say("settled")
	ctx, end := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end()
	}()
	giver.Run(ctx)
	os.Exit(0)
}

func takeOver(r *running) (*Giver, error) {
	ctx, path := context.Background(), os.Getenv("SOCKET")
	if at, what, _ := strings.Cut(os.Getenv("FAULT"), " "); at == "hello" {
		c, err := net.Dial(network, path)
		if err != nil {
			return nil, err
		}
		if what == "garbage" {
			_, _ = c.Write([]byte("garbage"))
		}
		say("at hello")
		fault("hello")
		_, _ = io.Copy(io.Discard, c)
		return nil, errors.New("refused")
	}
	if os.Getenv("FAULT") == "files limit" {
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 100, Max: 100})
	}
	t, err := Connect(ctx, path, testHello, supervise.New(testLog()))
	if err != nil {
		return nil, err
	}
	if err := takeState(ctx, t); err != nil {
		return nil, err
	}
	if strings.HasPrefix(os.Getenv("FAULT"), "taken ") {
		_ = t.conn.send(ctx, &message{Kind: kindTaken})
		fault("taken")
	}
	if err := t.Commit(ctx); err != nil {
		return nil, err
	}
	fault("committed")
	r.begin()
	say("running")
	return settle(ctx, t, r)
}

// takeState takes files and snapshot, and checks them.
func takeState(ctx context.Context, t *Taker) error {
	files := t.Files()
	garbage(t, "files")
	fault("files")
	state, err := t.Snapshot(ctx)
	if err != nil {
		return err
	}
	garbage(t, "snapshot")
	fault("snapshot")
	if len(files) != manyFiles || len(state.Files) != lateFiles || files[299].Shard != 29 || state.Version != 2 {
		return fmt.Errorf("%d and %d files, version %d", len(files), len(state.Files), state.Version)
	}
	for i, want := range testParts() {
		if got := state.Parts[i]; got.Name != want.Name || got.Shard != want.Shard || string(got.Data) != string(want.Data) {
			return fmt.Errorf("part %d differs", i)
		}
	}
	for _, f := range append(files, state.Files...) {
		if flags, err := unix.FcntlInt(uintptr(f.FD), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			return fmt.Errorf("descriptor %d: flags %x, %v", f.FD, flags, err)
		}
	}
	if os.Getenv("FAULT") == "snapshot abandon" {
		err := errors.New("the state is bad")
		t.Abandon(err)
		return err
	}
	return nil
}

// garbage sends it at a point, if the test wants it there.
func garbage(t *Taker, point string) {
	if os.Getenv("FAULT") == point+" garbage" {
		_, _ = t.conn.unix.Write([]byte("garbage"))
		time.Sleep(time.Hour)
	}
}

func settle(ctx context.Context, t *Taker, r *running) (*Giver, error) {
	proofs := 0
	alive := func() bool {
		if proofs++; proofs == 3 {
			garbage(t, "probation")
			if os.Getenv("FAULT") == "probation abandon" {
				go t.Abandon(errors.New("a shard panicked"))
			}
			fault("probation")
		}
		return os.Getenv("FAULT") != "probation dumb"
	}
	if strings.HasPrefix(os.Getenv("FAULT"), "replaced ") {
		// What Settle does in the end.
		if _, err := listen(t.path, true, Offer{}, testLog(), nil); err != nil {
			return nil, err
		}
		fault("replaced")
	}
	if os.Getenv("FAULT") == "probation end" {
		limited, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := t.Settle(limited, alive, Offer{}, testLog())
		say("ended: %v", err)
		os.Exit(0)
	}
	g, err := t.Settle(ctx, alive, testOffer(r, func() {}), testLog())
	if g != nil && err != nil {
		say("alone: %v", err)
		err = nil
	}
	return g, err
}

// child is a process of a test.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string
	seen  []string
	ended chan struct{}
}

// scene is a folder with a socket and a lock.
type scene struct{ dir string }

func (s scene) socket() string { return filepath.Join(s.dir, "socket") }

func newScene(t *testing.T) scene {
	t.Helper()
	dir, err := os.MkdirTemp("", "takeover") // a socket's path has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return scene{dir}
}

// start starts a giver or a taker with a fault.
func (s scene) start(t *testing.T, role, fault string, attr *syscall.SysProcAttr) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: clocale.Command(self), lines: make(chan string, 100), ended: make(chan struct{})}
	// With the race detector a process waits a second at its end, unless it is told not to.
	c.cmd.Env = clocale.Environ(roleVariable+"="+role, "SOCKET="+s.socket(), "LOCK="+filepath.Join(s.dir, "lock"), "FAULT="+fault, "GORACE=atexit_sleep_ms=0")
	c.cmd.SysProcAttr = attr
	errors := new(lockedBuilder)
	c.cmd.Stderr = errors
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.lines <- lines.Text()
		}
		_ = c.cmd.Wait()
		close(c.lines)
		close(c.ended)
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.ended
		if t.Failed() {
			t.Logf("%s: %.2000s\n%.2000s", role, strings.Join(c.seen, "\n"), errors)
		}
	})
	return c
}

type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write implements io.Writer.
func (l *lockedBuilder) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// await returns the rest of the line that has a text.
func (c *child) await(text string) string {
	c.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case line, open := <-c.lines:
			c.seen = append(c.seen, line)
			_, rest, found := strings.Cut(line, text)
			switch {
			case !open:
				c.t.Fatalf("the process has ended before %q", text)
			case found:
				return rest
			case strings.HasPrefix(line, "two run"):
				c.t.Fatal(line)
			}
		case <-limit:
			c.t.Fatalf("no %q", text)
		}
	}
}

// awaitEnd returns the exit code, -1 after a signal.
func (c *child) awaitEnd() int {
	c.t.Helper()
	for limit := time.After(30 * time.Second); ; {
		select {
		case line, open := <-c.lines:
			if strings.HasPrefix(line, "two run") {
				c.t.Fatal(line)
			}
			if !open {
				return c.cmd.ProcessState.ExitCode()
			}
		case <-limit:
			c.t.Fatal("the process has not ended")
		}
	}
}

// files returns how many descriptors the process has.
func (c *child) files() (n int) {
	c.t.Helper()
	_, _ = io.WriteString(c.stdin, "\n")
	_, _ = fmt.Sscan(c.await("open files: "), &n)
	return n
}

// awaitStopped waits until the process is stopped by SIGSTOP.
func (c *child) awaitStopped() {
	c.t.Helper()
	for range 1000 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
		if err != nil {
			c.t.Fatal(err)
		}
		if _, rest, _ := strings.Cut(string(b), ") "); strings.HasPrefix(rest, "T") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatal("the process has not stopped")
}
