package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"srtrelay/config"
)

// asCommand makes the test binary behave as srtrelay without serve.
const asCommand = "TEST_AS_SRTRELAY"

// commandEnv is the environment of a test binary that behaves as srtrelay. One with the race
// detector waits a second at its end, unless it is told not to.
func commandEnv(more ...string) []string {
	return append([]string{asCommand + "=1", "GORACE=atexit_sleep_ms=0"}, more...)
}

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) == "" {
		os.Exit(m.Run())
	}
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	shell := Shell{
		Version: testVersion, LookupEnv: os.LookupEnv, Environ: os.Environ, ReadFile: os.ReadFile,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals,
	}
	os.Exit(shell.Run(os.Args[1:]))
}

// testVersion is the version of a testShell.
const testVersion = "v0.1.0-test"

// testShell is a shell whose output can be read; serve gets the Config and returns how the
// relay ended.
func testShell(serve func(config.Config) (started bool, err error)) (s *Shell, stdout, stderr *bytes.Buffer, signals chan os.Signal) {
	stdout, stderr, signals = &bytes.Buffer{}, &bytes.Buffer{}, make(chan os.Signal, 3)
	return &Shell{
		Version:   testVersion,
		LookupEnv: func(string) (string, bool) { return "", false },
		Environ:   func() []string { return nil },
		ReadFile:  func(string) ([]byte, error) { return nil, fs.ErrNotExist },
		Stdin:     strings.NewReader(""),
		Stdout:    stdout,
		Stderr:    stderr,
		Signals:   signals,
		Serve:     serve,
	}, stdout, stderr, signals
}

// ended is a relay that ends at once.
func ended(started bool, err error) func(config.Config) (bool, error) {
	return func(config.Config) (bool, error) { return started, err }
}

func TestExitCodes(t *testing.T) {
	busy := fmt.Errorf("open the API: %w", syscall.EADDRINUSE)
	const quiet = "--log-level=error"
	for _, c := range []struct {
		args   []string
		serve  func(config.Config) (bool, error)
		code   int
		stderr string
	}{
		{[]string{quiet}, ended(true, nil), exitClean, ""},
		{[]string{"serve", quiet}, ended(true, nil), exitClean, ""},
		{[]string{quiet}, ended(true, errors.New("loop 3: boom")), exitFailed, "srtrelay: loop 3: boom\n"},
		{[]string{quiet}, ended(false, busy), exitCannotStart, "srtrelay: open the API: address already in use\n"},
		{[]string{quiet}, ended(true, errors.Join(errors.New("one"), errors.New("two"))), exitFailed, "srtrelay: one; two\n"},
		{[]string{"--shards=x"}, nil, exitCannotStart, "srtrelay: config: --shards: \"x\": not a number\n"},
		{[]string{"--config=gone.yaml"}, nil, exitCannotStart, "srtrelay: config: file gone.yaml: file does not exist\n"},
		{
			[]string{"tip"}, nil, exitCannotStart, "srtrelay: unknown command \"tip\", there are serve, keep, upgrade, top, streams, sessions, " +
				"backends, relays, shards, sources, events, capture, resolve, reload, check, config, completion, man, version and help\n",
		},
		{[]string{"version", "x"}, nil, exitCannotStart, "srtrelay: version takes no arguments\n"},
	} {
		s, stdout, stderr, _ := testShell(c.serve)
		if code := s.Run(c.args); code != c.code || stderr.String() != c.stderr || stdout.Len() > 0 {
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
		{"version", "srtrelay " + testVersion + "\n"},
		{"--version", "srtrelay " + testVersion + "\n"},
	} {
		s, stdout, stderr, _ := testShell(nil)
		if code := s.Run(strings.Fields(c.args)); code != exitClean || stdout.String() != c.want || stderr.Len() > 0 {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", c.args, code, stdout, stderr)
		}
	}
}
