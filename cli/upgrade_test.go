package cli

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/relay/takeover"
)

func TestUpgrade(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	done := takeover.Verdict{PID: 42, Took: 17 * time.Millisecond, Sessions: 3}
	for _, c := range []struct {
		args    string
		verdict takeover.Verdict
		err     error
		binary  string
		passed  string
		code    int
		out     string
	}{
		{"", done, nil, self, "serve --takeover=require", 0, "took over from pid 42 in 17 ms, 3 sessions\n"},
		{"--config x", takeover.Verdict{Sessions: 1}, nil, self, "serve --config x --takeover=require", 0, "took over from a relay in another PID namespace in 0 ms, 1 session\n"},
		{"--shards 2 --binary /opt/relay --steer=cpu", done, nil, "/opt/relay", "serve --shards 2 --steer=cpu --takeover=require", 0, "took over from pid 42 in 17 ms, 3 sessions\n"},
		{"--binary=/opt/relay", done, errors.New("why"), "/opt/relay", "serve --takeover=require", 1, "srtrelay: upgrade: why\n"},
		{"--binary", done, nil, "", "", 2, "srtrelay: upgrade: --binary: value missing\n"},
		{"--binary=", done, nil, "", "", 2, "srtrelay: upgrade: --binary: value missing\n"},
	} {
		s, stdout, stderr, _ := testShell(nil)
		var binary, passed string
		s.Launch = func(_ context.Context, b string, args []string) (takeover.Verdict, error) {
			binary, passed = b, strings.Join(args, " ")
			return c.verdict, c.err
		}
		code := s.Run(append([]string{"upgrade"}, strings.Fields(c.args)...))
		if out := stdout.String() + stderr.String(); code != c.code || out != c.out || binary != c.binary || passed != c.passed {
			t.Errorf("upgrade %s: exit %d, %q, ran %s %s", c.args, code, out, binary, passed)
		}
	}
}

// A signal ends the wait, and so the new process.
func TestUpgradeStops(t *testing.T) {
	s, _, stderr, _ := testShell(nil)
	signals := make(chan os.Signal, 1)
	s.Signals = signals
	s.Launch = func(ctx context.Context, _ string, _ []string) (takeover.Verdict, error) {
		signals <- os.Interrupt
		<-ctx.Done()
		return takeover.Verdict{}, context.Cause(ctx)
	}
	if code := s.Run([]string{"upgrade"}); code != exitFailed || stderr.String() != "srtrelay: upgrade: context canceled\n" {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

func TestUpgradeCompletes(t *testing.T) {
	for begun, want := range map[string]string{"--bin": "--binary", "--takeover=": "require"} {
		s, stdout, _, _ := testShell(nil)
		s.Run([]string{"__completeNoDesc", "upgrade", begun})
		if !slices.Contains(strings.Split(stdout.String(), "\n"), want) {
			t.Errorf("%s: %q", begun, stdout)
		}
	}
}
