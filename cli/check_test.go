package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"srtrelay/config"
)

// The settings are checked as serve would read them, the rules with them, and
// nothing is started.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	for file, text := range map[string]string{good: "default: live/fallback\n", bad: "defualt: live/x\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const noBackend = "warning: no backend: callers are refused until one registers, or set --backend srt://host:port\n"
	for _, c := range []struct {
		args    string
		environ []string
		code    int
		stdout  string
		stderr  string // part of it
	}{
		{"check --backend a:1", nil, exitClean, "ok: 1 static backend, no rules\n", ""},
		{"check", nil, exitClean, noBackend + "ok: 0 static backends, no rules\n", ""},
		{
			"check --backend a:1,b:2 --rules " + good,
			[]string{"SRTRELAY_SHARD=2", "PROXY_HTTP_API=1985"},
			exitClean,
			"warning: SRTRELAY_SHARD: unknown variable, did you mean \"SRTRELAY_SHARDS\"?\n" +
				"warning: PROXY_HTTP_API: ignored, they concern what this relay does not do (RTMP, HTTP, WebRTC)\n" +
				"ok: 2 static backends, rules in " + good + "\n", "",
		},
		{"check --backend a:1 --rules " + bad, nil, exitCannotStart, "", "bad.yaml:1: key \"defualt\": unknown key"},
		{"check --backend a:1 --api-tls-cert " + good + " --api-tls-key gone.pem", nil, exitCannotStart, "", "certificate: gone.pem: no such file or directory"},
		{"check --backend a:1 --cookie-secret-file gone", nil, exitCannotStart, "", "--cookie-secret-file gone: no such file or directory"},
		{"check --backend a:1 --cookie-secret-file " + good, nil, exitCannotStart, "", "good.yaml: line 1: a secret has at least 32 characters"},
		{"check --shard 2", nil, exitCannotStart, "", "config: --shard: unknown flag, did you mean \"--shards\"?"},
		{"check --config gone.yaml", nil, exitCannotStart, "", "config: file gone.yaml: file does not exist"},
		{"config --shards=x", nil, exitCannotStart, "", "config: --shards: \"x\": not a number"},
	} {
		s, stdout, stderr, _ := testShell(nil)
		s.Environ = func() []string { return c.environ }
		if code := s.Run(strings.Fields(c.args)); code != c.code || stdout.String() != c.stdout {
			t.Errorf("%s: exit %d, want %d\nstdout %swant   %sstderr %s", c.args, code, c.code, stdout, c.stdout, stderr)
		}
		if got := stderr.String(); !strings.Contains(got, c.stderr) || strings.Count(got, "\n") > 1 || (got == "") != (c.stderr == "") {
			t.Errorf("%s: stderr %q, want %q", c.args, got, c.stderr)
		}
	}
}

// srtrelay config prints each setting with its value and origin, and no secret.
func TestConfig(t *testing.T) {
	s, stdout, stderr, _ := testShell(nil)
	s.LookupEnv = func(name string) (string, bool) {
		return map[string]string{"SRTRELAY_REGISTER_TOKEN": "correct-horse"}[name], name == "SRTRELAY_REGISTER_TOKEN"
	}
	if code := s.Run(strings.Fields("config --shards 3 --backend srt://a:1?weight=2 --backend b:2")); code != exitClean {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	got := map[string]string{}
	for line := range strings.Lines(stdout.String()) {
		fields := strings.Fields(line)
		got[fields[0]] = strings.Join(fields[1:], " ")
	}
	for name, want := range map[string]string{
		"--shards":         "3 --shards",
		"--backend":        "srt://a:1?weight=2,b:2 --backend",
		"--register-token": "*** SRTRELAY_REGISTER_TOKEN",
		"--policy":         "least-sessions default",
		"--session-ledger": "off default",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	if len(got) != len(config.Settings()) {
		t.Errorf("%d settings", len(got))
	}
}
