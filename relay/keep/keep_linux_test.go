package keep

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
)

// asChild makes the test binary the keeper's process or its child. Its value says what the
// child does in each start, of which the first letter not yet done is this one's.
const (
	asKeeper = "TEST_AS_KEEPER"
	asChild  = "TEST_AS_CHILD"
	stateDir = "TEST_STATE"
)

func TestMain(m *testing.M) {
	switch steps := os.Getenv(asChild); {
	case os.Getenv(asKeeper) != "":
		env := append(os.Environ(), asChild+"="+os.Getenv(asKeeper))
		_ = os.Unsetenv(asKeeper)
		for k := range env {
			if strings.HasPrefix(env[k], asKeeper+"=") {
				env[k] = "X=" // the child is no keeper
			}
		}
		code, err := Run(Program{Path: os.Args[0], Env: env, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	case steps != "":
		child(steps)
	}
	os.Exit(m.Run())
}

// child is a process that is kept. It never returns.
func child(steps string) {
	log := filepath.Join(os.Getenv(stateDir), "starts")
	before, _ := os.ReadFile(log)
	n := bytes.Count(before, []byte("\n"))
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		os.Exit(90)
	}
	fmt.Fprintf(f, "%d names=%s ppid=%v\n", os.Getpid(), os.Getenv("LISTEN_FDNAMES"), os.Getenv("LISTEN_PPID") == fmt.Sprint(os.Getppid()))
	_ = f.Close()
	switch steps[min(n, len(steps)-1)] {
	case 's': // stores a file and dies
		send("READY=1")
		send("FDSTORE=1\nFDPOLL=0\nFDNAME=one", f2())
		die()
	case 'r': // reads the file, removes it and dies
		text := make([]byte, 16)
		k, _ := syscall.Pread(3, text, 0)
		_ = os.WriteFile(filepath.Join(os.Getenv(stateDir), "read"), text[:max(k, 0)], 0o600)
		send("FDSTOREREMOVE=1\nFDNAME=one")
		barrier()
		die()
	case 'k':
		die()
	case 'u':
		os.Exit(2)
	case '1':
		os.Exit(1)
	case 'h': // hands over to a process of another session, which then crashes
		cmd := clocale.Command("/bin/sh", "-c", "sleep 0.3; kill -9 $$")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if cmd.Start() != nil {
			os.Exit(91)
		}
		send(fmt.Sprintf("MAINPID=%d", cmd.Process.Pid))
		os.Exit(0)
	case 'a': // as h, and waits to be stopped
		cmd := clocale.Command("/bin/sh", "-c", "sleep 0.3; exit 7")
		if cmd.Start() != nil {
			os.Exit(91)
		}
		send(fmt.Sprintf("MAINPID=%d", cmd.Process.Pid))
		time.Sleep(time.Hour)
	case 'x': // stores a file, hands over to a process that a shell has started, and ends in order
		pid, _ := os.ReadFile(filepath.Join(os.Getenv(stateDir), "stranger"))
		send("FDSTORE=1\nFDPOLL=0\nFDNAME=one", f2())
		send("READY=1")
		send("MAINPID=" + string(pid))
		os.Exit(0)
	case 'o': // names a process that is none of its own, and ends in order
		send("MAINPID=1")
		os.Exit(0)
	case 'f': // floods its parent, and does not handle SIGTERM
		signal.Reset(syscall.SIGTERM)
		for {
			send("READY=1\nSTATUS=" + strings.Repeat("x", 3000))
		}
	case 'p': // when it is stopped, names a process that is not
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		send("READY=1")
		<-c
		cmd := clocale.Command("sleep", "60")
		if cmd.Start() != nil {
			os.Exit(91)
		}
		send(fmt.Sprintf("MAINPID=%d", cmd.Process.Pid))
	case 'b': // has systemd's own client send a message and BARRIER=1
		if clocale.Command("systemd-notify", "--ready").Run() != nil {
			os.Exit(2)
		}
	case 'w': // waits for SIGTERM
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		send("READY=1")
		_ = os.WriteFile(filepath.Join(os.Getenv(stateDir), "ready"), []byte("w"), 0o600)
		<-c
	}
	os.Exit(0)
}

// f2 returns a file with a text.
func f2() int {
	f, err := os.CreateTemp(os.Getenv(stateDir), "")
	if err != nil {
		os.Exit(92)
	}
	_, _ = f.WriteString("kept")
	return int(f.Fd())
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func send(text string, fds ...int) {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: os.Getenv("NOTIFY_SOCKET"), Net: "unixgram"})
	if err != nil {
		os.Exit(93)
	}
	raw, _ := c.SyscallConn()
	_ = raw.Write(func(fd uintptr) bool {
		err = syscall.Sendmsg(int(fd), []byte(text), syscall.UnixRights(fds...), nil, 0)
		return err != syscall.EAGAIN
	})
	if err != nil {
		os.Exit(94)
	}
	_ = c.Close()
}

func barrier() {
	r, w, _ := os.Pipe()
	send("BARRIER=1", int(w.Fd()))
	_ = w.Close()
	_, _ = r.Read(make([]byte, 1))
}

// kept is a keeper's process.
type kept struct {
	t   *testing.T
	cmd *exec.Cmd
	dir string
	mu  sync.Mutex
	log bytes.Buffer
}

// Write implements io.Writer.
func (k *kept) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.log.Write(b)
}

func (k *kept) text() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.log.String()
}

func startKept(t *testing.T, steps string, env ...string) *kept {
	t.Helper()
	return startKeptIn(t, t.TempDir(), steps, env...)
}

// newKept prepares a keeper whose child takes steps. With the race detector a process waits a
// second at its end, unless it is told not to.
func newKept(t *testing.T, dir, steps string) *kept {
	k := &kept{t: t, dir: dir, cmd: clocale.Command(os.Args[0])}
	k.cmd.Env = clocale.Environ(asKeeper+"="+steps, stateDir+"="+dir, "GORACE=atexit_sleep_ms=0")
	return k
}

func startKeptIn(t *testing.T, dir, steps string, env ...string) *kept {
	t.Helper()
	k := newKept(t, dir, steps)
	k.cmd.Env = append(k.cmd.Env, env...)
	k.cmd.Stderr = k
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.cmd.Process.Kill() })
	return k
}

// await waits for a text in the log.
func (k *kept) await(text string) {
	k.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(k.text(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			k.t.Fatalf("no %q in\n%s", text, k.text())
		}
	}
}

// end waits for the end, and returns the exit code and the starts.
func (k *kept) end() (code int, starts []string) {
	k.t.Helper()
	timer := time.AfterFunc(20*time.Second, func() { _ = k.cmd.Process.Kill() })
	defer timer.Stop()
	_ = k.cmd.Wait()
	text, err := os.ReadFile(filepath.Join(k.dir, "starts"))
	if err != nil {
		k.t.Fatal(err)
	}
	return k.cmd.ProcessState.ExitCode(), strings.Split(strings.TrimSpace(string(text)), "\n")
}

func TestRun(t *testing.T) {
	t.Parallel()
	for steps, want := range map[string]struct {
		code, starts int
		log          string
	}{
		"n":   {0, 1, ""},
		"u":   {2, 1, ""},
		"kn":  {0, 2, "exit_code=137"},
		"1ku": {2, 3, "exit_code=1 "},
		"hn":  {0, 2, "another process has taken over"},
		"an":  {0, 2, "exit_code=7 "},
		"on":  {0, 2, "that is not here"},
	} {
		t.Run(steps, func(t *testing.T) {
			t.Parallel()
			k := startKept(t, steps)
			code, starts := k.end()
			if code != want.code || len(starts) != want.starts || !strings.Contains(k.text(), want.log) {
				t.Errorf("code %d, starts %q, want %+v\n%s", code, starts, want, k.text())
			}
		})
	}
}

// The bug: when a relay that a shell had started took over, the program was started again beside
// it, with the sockets that both had then.
func TestProcessOfAShellTakesOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stranger := clocale.Command("sleep", "60")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Process.Kill() })
	if err := os.WriteFile(filepath.Join(dir, "stranger"), fmt.Append(nil, stranger.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	k := startKeptIn(t, dir, "xn")
	k.await("a process that is no child has taken over")
	former, err := strconv.Atoi(strings.Fields(k.started())[0])
	if err != nil {
		t.Fatal(err)
	}
	for syscall.Kill(former, 0) == nil { // until it is reaped
		time.Sleep(time.Millisecond)
	}
	if text := k.text(); strings.Contains(text, "started again") || strings.Contains(text, "crashed") {
		t.Fatal(text)
	}
	_ = stranger.Process.Kill()
	_ = stranger.Wait()
	code, starts := k.end()
	if code != 0 || len(starts) != 2 || !strings.HasSuffix(starts[1], "names= ppid=false") {
		t.Errorf("code %d, starts %q\n%s", code, starts, k.text())
	}
}

// What a process has stored just before it was killed is the next one's, until it is removed.
func TestDescriptorsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{"folder": nil, "abstract": {"TMPDIR=/proc"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testDescriptors(t, env)
		})
	}
}

// systemd's own client gets its answer to BARRIER=1.
func TestBarrierOfSystemd(t *testing.T) {
	t.Parallel()
	need.Tool(t, "systemd-notify")
	for name, env := range map[string][]string{"folder": nil, "abstract": {"TMPDIR=/proc"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startKept(t, "b", env...)
			if code, _ := k.end(); code != 0 {
				t.Errorf("code %d\n%s", code, k.text())
			}
		})
	}
}

func testDescriptors(t *testing.T, env []string) {
	t.Helper()
	k := startKept(t, "skrn", env...)
	code, starts := k.end()
	if code != 0 || len(starts) != 4 {
		t.Fatalf("code %d, starts %q\n%s", code, starts, k.text())
	}
	for n, want := range []string{"names= ppid=false", "names=one ppid=true", "names=one ppid=true", "names= ppid=false"} {
		if !strings.HasSuffix(starts[n], want) {
			t.Errorf("start %d: %q, want %q", n, starts[n], want)
		}
	}
	if text, err := os.ReadFile(filepath.Join(k.dir, "read")); string(text) != "kept" {
		t.Errorf("read %q, %v", text, err)
	}
}

// The pauses between failed starts double, and a SIGTERM ends one.
func TestCrashLoopBacksOff(t *testing.T) {
	t.Parallel()
	k := startKept(t, "1")
	for n, ms := range []int{0, 100, 200, 400} {
		k.await(fmt.Sprintf("failed_starts=%d pause_ms=%d ", n+1, ms))
	}
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	if code, _ := k.end(); code != 1 && code != 0 {
		t.Errorf("code %d", code)
	}
}

// SIGTERM ends both. A process that is no child is not listened to.
func TestStop(t *testing.T) {
	t.Parallel()
	k := startKept(t, "w")
	k.await("program ready")
	names, err := os.ReadFile(fmt.Sprintf("/proc/%s/environ", strings.Fields(k.started())[0]))
	if err != nil {
		t.Fatal(err)
	}
	for v := range strings.SplitSeq(string(names), "\x00") {
		if name, is := strings.CutPrefix(v, "NOTIFY_SOCKET="); is {
			c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte("MAINPID=1"))
			_ = c.Close()
		}
	}
	k.await("is refused")
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	if code, starts := k.end(); code != 0 || len(starts) != 1 {
		t.Errorf("code %d, starts %q\n%s", code, starts, k.text())
	}
}

// The reader of the log dies. The keeper died with its next line, and a container with it.
func TestLogReaderDies(t *testing.T) {
	t.Parallel()
	k := newKept(t, t.TempDir(), "kw")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	k.cmd.Stderr = w
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	t.Cleanup(func() { _ = k.cmd.Process.Kill() })
	ended := make(chan struct{})
	go func() { _ = k.cmd.Wait(); close(ended) }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if text, _ := os.ReadFile(filepath.Join(k.dir, "ready")); len(text) > 0 {
			break
		}
		select {
		case <-ended:
			t.Fatalf("the keeper has ended: %v", k.cmd.ProcessState)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("no second start")
		}
	}
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	<-ended
	if code := k.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%v", k.cmd.ProcessState)
	}
}

// A process in whose probation the keeper is stopped is stopped too: the one before has had the
// signal, and leaves at once.
func TestStopInProbation(t *testing.T) {
	t.Parallel()
	k := startKept(t, "p")
	k.await("program ready")
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	if code, starts := k.end(); code != 128+int(syscall.SIGTERM) || len(starts) != 1 {
		t.Errorf("code %d, starts %q\n%s", code, starts, k.text())
	}
}

// A child that sends without end does not keep its parent from passing a signal on.
func TestFlood(t *testing.T) {
	t.Parallel()
	k := startKept(t, "f")
	k.await("program ready")
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	if code, starts := k.end(); code != 128+int(syscall.SIGTERM) || len(starts) != 1 {
		t.Errorf("code %d, starts %q\n%s", code, starts, k.text())
	}
}

func (k *kept) started() string {
	text, err := os.ReadFile(filepath.Join(k.dir, "starts"))
	if err != nil {
		k.t.Fatal(err)
	}
	return string(text)
}

// A relay that hangs was kept for ever: one that dies while the reader of its log stalls hangs in
// writing its stacks.
func TestHangingProgramIsEnded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		turns  int
		want   syscall.Signal
	}{"hangs": {"sleep 60", 30, syscall.SIGABRT}, "hangs in its end": {"trap '' ABRT; echo; while :; do sleep 1; done", 40, syscall.SIGKILL}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := clocale.Command("/bin/sh", "-c", "echo; exec "+c.script)
			if c.want == syscall.SIGKILL {
				cmd = clocale.Command("/bin/sh", "-c", c.script)
			}
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			_, _ = out.Read(make([]byte, 1)) // it runs
			k := &keeper{Program: Program{Log: slog.New(slog.DiscardHandler)}, self: os.Getpid(), main: cmd.Process.Pid}
			k.watchMain() // it is not ready yet
			k.handle([]byte("READY=1"), nil, k.main)
			for range c.turns - 1 {
				k.watchMain()
			}
			if k.handle([]byte("WATCHDOG=1"), nil, k.main); k.silent != (silence{}) {
				t.Error("a sign of life does not count")
			}
			for range c.turns {
				k.watchMain()
			}
			_ = cmd.Wait()
			if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != c.want {
				t.Errorf("%v, want %v", cmd.ProcessState, c.want)
			}
		})
	}
}
