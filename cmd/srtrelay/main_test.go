package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"srtrelay/config"
	"srtrelay/internal/clocale"
)

// asCommand makes the test binary behave as srtrelay.
const asCommand = "SRTRELAY_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// testShell is a shell whose output can be read; run gets the Config and
// tells when to end and how.
func testShell(run runner) (s *shell, stdout, stderr *bytes.Buffer, signals chan os.Signal) {
	stdout, stderr, signals = &bytes.Buffer{}, &bytes.Buffer{}, make(chan os.Signal, 3)
	return &shell{
		env:      func(string) (string, bool) { return "", false },
		environ:  func() []string { return nil },
		stdin:    strings.NewReader(""),
		readFile: func(string) ([]byte, error) { return nil, fs.ErrNotExist },
		stdout:   stdout,
		stderr:   stderr,
		signals:  signals,
		run:      run,
	}, stdout, stderr, signals
}

// returning is a runner that ends at once.
func returning(err error) runner {
	return func(context.Context, <-chan struct{}, config.Config, process) error { return err }
}

func TestExitCodes(t *testing.T) {
	busy := fmt.Errorf("open the API: %w", syscall.EADDRINUSE)
	const quiet = "--log-level=error"
	for _, c := range []struct {
		args   []string
		run    runner
		code   int
		stderr string
	}{
		{[]string{quiet}, returning(nil), exitClean, ""},
		{[]string{"serve", quiet}, returning(nil), exitClean, ""},
		{[]string{quiet}, returning(errors.New("loop 3: boom")), exitFailed, "srtrelay: loop 3: boom\n"},
		{[]string{quiet}, returning(cannotStart(busy)), exitCannotStart, "srtrelay: open the API: address already in use\n"},
		{
			[]string{quiet},
			returning(fmt.Errorf("run: %w", cannotStart(busy))), exitCannotStart,
			"srtrelay: run: open the API: address already in use\n",
		},
		{[]string{quiet}, returning(errors.Join(errors.New("one"), errors.New("two"))), exitFailed, "srtrelay: one; two\n"},
		{[]string{"--shards=x"}, nil, exitCannotStart, "srtrelay: config: --shards: \"x\": not a number\n"},
		{[]string{"--config=gone.yaml"}, nil, exitCannotStart, "srtrelay: config: file gone.yaml: file does not exist\n"},
		{
			[]string{"tip"}, nil, exitCannotStart, "srtrelay: unknown command \"tip\", there are serve, top, streams, sessions, " +
				"backends, shards, events, capture, resolve, completion, man, version and help\n",
		},
		{[]string{"version", "x"}, nil, exitCannotStart, "srtrelay: version takes no arguments\n"},
	} {
		s, stdout, stderr, _ := testShell(c.run)
		if code := s.main(c.args); code != c.code || stderr.String() != c.stderr || stdout.Len() > 0 {
			t.Errorf("%q: exit %d, want %d\nstderr %swant   %sstdout %s", c.args, code, c.code, stderr, c.stderr, stdout)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	all, _, _, _ := testShell(nil)
	usage := all.usage()
	if !strings.Contains(usage, "srtrelay [serve] [flags]  ") || !strings.Contains(usage, "--backend") {
		t.Errorf("usage:\n%s", usage)
	}
	for _, c := range []struct {
		args, want string
	}{
		{"help", usage},
		{"--help", usage},
		{"serve -h", usage},
		{"help serve", usage},
		{"version", versionLine()},
		{"--version", versionLine()},
	} {
		s, stdout, stderr, _ := testShell(nil)
		if code := s.main(strings.Fields(c.args)); code != exitClean || stdout.String() != c.want || stderr.Len() > 0 {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", c.args, code, stdout, stderr)
		}
	}
}

// The first signal drains, the second ends what is left.
func TestSignals(t *testing.T) {
	s, _, _, signals := testShell(nil)
	s.run = func(ctx context.Context, drain <-chan struct{}, _ config.Config, _ process) error {
		signals <- syscall.SIGTERM
		<-drain
		if ctx.Err() != nil {
			t.Error("the first signal ended all")
		}
		signals <- syscall.SIGTERM
		<-ctx.Done()
		return nil
	}
	if code := s.main(nil); code != exitClean {
		t.Errorf("exit %d", code)
	}
}

func TestLog(t *testing.T) {
	say := func(_ context.Context, _ <-chan struct{}, _ config.Config, p process) error {
		p.log.Debug("detail")
		return nil
	}
	s, _, stderr, _ := testShell(say)
	s.main([]string{"--log-format=json", "--log-level=debug"})
	if got := stderr.String(); !strings.Contains(got, `"msg":"detail"`) || !strings.Contains(got, `"level":"WARN"`) {
		t.Errorf("log %s", got)
	}
	s, _, stderr, _ = testShell(say)
	s.main([]string{"--backend=srt://origin:10080"})
	if stderr.Len() > 0 {
		t.Errorf("log at info: %s", stderr)
	}
}

// The process itself: exit code and streams as a script sees them.
func TestProcess(t *testing.T) {
	for _, c := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"version", exitClean, "srtrelay ", ""},
		{"help", exitClean, "--backend", ""},
		{"--listne 1", exitCannotStart, "", `srtrelay: config: --listne: unknown flag, did you mean "--listen"?`},
		{
			"--steer cpu --shards 1024 --backend srt://127.0.0.1:1 --listen 127.0.0.1:0 --api 127.0.0.1:0", exitCannotStart, "",
			"srtrelay: --steer cpu: every shard needs a CPU of its own, there are too few for 1024",
		},
	} {
		cmd := clocale.Command(os.Args[0], strings.Fields(c.args)...)
		cmd.Env = []string{asCommand + "=1"}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if code := cmd.ProcessState.ExitCode(); code != c.code {
			t.Errorf("%s: exit %d, want %d", c.args, code, c.code)
		}
		if !strings.Contains(stdout.String(), c.stdout) || strings.TrimSpace(stderr.String()) != c.stderr {
			t.Errorf("%s: stdout %q, stderr %q", c.args, stdout.String(), stderr.String())
		}
	}
}
