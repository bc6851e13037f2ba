package relay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/config"
	"srtrelay/internal/clocale"
)

// The first signal drains, the second ends what is left. Signals within a second are one.
func TestSignals(t *testing.T) {
	// The first Notify of the process starts a goroutine, which must not be in the bubble.
	other := make(chan os.Signal, 1)
	signal.Notify(other, syscall.SIGUSR1)
	defer signal.Stop(other)
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal, 3)
		started, err := serve(config.Config{}, "", io.Discard, signals, nil, func(ctx context.Context, drain <-chan struct{}, _ config.Config, _ process) error {
			signals <- syscall.SIGTERM
			<-drain
			for range 3 {
				signals <- syscall.SIGINT
				time.Sleep(sameSignal / 4) // the bubble's clock
			}
			synctest.Wait()
			if ctx.Err() != nil {
				t.Error("signals of one second ended all")
			}
			time.Sleep(sameSignal)
			signals <- syscall.SIGTERM
			<-ctx.Done()
			return nil
		})
		if !started || err != nil {
			t.Errorf("started %v, error %v", started, err)
		}
	})
}

// A failure to start is distinguished from a later one, also if it is wrapped.
func TestFailureToStart(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		err     error
		started bool
	}{
		{nil, true},
		{boom, true},
		{&startError{boom}, false},
		{fmt.Errorf("run: %w", &startError{boom}), false},
	} {
		started, err := serve(config.Config{}, "", io.Discard, nil, nil, func(context.Context, <-chan struct{}, config.Config, process) error { return c.err })
		if started != c.started || err != c.err {
			t.Errorf("%v: started %v, error %v", c.err, started, err)
		}
	}
}

func TestLog(t *testing.T) {
	say := func(_ context.Context, _ <-chan struct{}, _ config.Config, p process) error {
		p.log.Debug("detail")
		return nil
	}
	logged := func(flags ...string) string {
		t.Helper()
		none := func(string) (string, bool) { return "", false }
		c, err := config.Load(flags, none, func(string) ([]byte, error) { return nil, fs.ErrNotExist })
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		if _, err := serve(c, "", &stderr, nil, nil, say); err != nil {
			t.Error(err)
		}
		return stderr.String()
	}
	if got := logged("--log-format=json", "--log-level=debug"); !strings.Contains(got, `"msg":"detail"`) || !strings.Contains(got, `"level":"WARN"`) {
		t.Errorf("log %s", got)
	}
	if got := logged("--backend=srt://origin:10080"); got != "" {
		t.Errorf("log at info: %s", got)
	}
}

// hangs makes this test binary a relay that no signal but the last one ends.
const hangs = "SRTRELAY_TEST_HANGS"

func TestMain(m *testing.M) {
	if os.Getenv(hangs) == "" {
		os.Exit(m.Run())
	}
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, syscall.SIGTERM)
	_, _ = serve(config.Config{}, "", os.Stderr, signals, nil, func(_ context.Context, _ <-chan struct{}, _ config.Config, p process) error {
		p.log.Info("hanging")
		select {}
	})
}

// The third signal ends a relay that hangs while it stops, as a signal without a handler
// does.
func TestThirdSignalEndsAHangingRelay(t *testing.T) {
	command := clocale.Command(os.Args[0])
	command.Env = append(command.Env, hangs+"=1")
	out, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = command.Process.Kill() }()
	lines := bufio.NewScanner(out)
	for _, message := range []string{"hanging", "draining", `"stopping at once"`} {
		for !strings.Contains(lines.Text(), "msg="+message) {
			if !lines.Scan() {
				t.Fatalf("the relay ended before it logged %s: %v", message, command.Wait())
			}
		}
		if !strings.Contains(message, "hanging") {
			time.Sleep(sameSignal + 200*time.Millisecond) // a signal of its own
		}
		if err := command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for lines.Scan() {
	}
	_ = command.Wait()
	if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v, want SIGTERM", command.ProcessState)
	}
}
