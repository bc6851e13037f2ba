package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"srtrelay/internal/clocale"
)

// asCommand makes the test binary behave as srtrelay.
const asCommand = "TEST_AS_SRTRELAY"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// The process itself: exit code and streams as a script sees them.
func TestProcess(t *testing.T) {
	for _, c := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"version", 0, "srtrelay ", ""},
		{"help", 0, "--backend", ""},
		{"--listne 1", 2, "", `srtrelay: config: --listne: unknown flag, did you mean "--listen"?`},
		{
			"--steer cpu --shards 1024 --backend srt://127.0.0.1:1 --listen 127.0.0.1:0 --api 127.0.0.1:0", 2, "",
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
