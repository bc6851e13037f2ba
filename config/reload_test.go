package config

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"
)

// accept is the process that can apply every change.
func accept(string, *Config) (why string) { return "" }

// Every setting states what a reload does with it.
func TestEverySettingHasAReloadClass(t *testing.T) {
	for i := range fields {
		if f := &fields[i]; f.reload != inPlace && f.reload != needsUpgrade {
			t.Errorf("--%s: neither inPlace nor needsUpgrade", f.name)
		}
	}
}

// changing is a file that a test rewrites.
type changing struct {
	text string
	err  error
}

// start loads the settings with the file relay.yaml.
func (f *changing) start(t *testing.T, args string, env map[string]string) Config {
	t.Helper()
	c, err := Load(append(strings.Fields(args), "--config", "relay.yaml"),
		func(name string) (string, bool) { text, ok := env[name]; return text, ok },
		func(string) ([]byte, error) { return []byte(f.text), f.err })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// other are values that differ from the default.
var other = map[string]string{
	"listen": "20081", "api": "8080", "name": "edge", "api-allow-remote": "true", "api-host": "relay", "register-token": "token-token",
	"ready-without-backends": "true", "metrics-streams": "9", "backend": "10.0.0.1:1, 10.0.0.2:2?weight=3", "backend-ttl": "9s",
	"rules": "/r.yaml", "policy": "hash", "players-create": "false", "outlier-detection": "off", "affinity": "9s", "state": "redis",
	"redis": "redis://:secret@h:1/0", "shards": "77", "batch": "9", "batch-wait": "1ms", "pin": "off", "steer": "cpu", "telemetry": "off",
	"gro": "off", "gso": "off", "kernel-path": "require", "kernel-path-local": "accept", "rcvbuf": "1MiB", "sndbuf": "1MiB", "upstream-ports": "9",
	"max-sessions": "9", "max-sessions-per-source": "9", "max-handshakes": "9", "max-handshakes-per-source": "9", "idle-timeout": "9s",
	"max-sessions-per-subnet": "9", "max-connects-per-source": "9", "max-connects-per-subnet": "9", "max-bitrate-per-source": "9Mbps",
	"max-bitrate-per-subnet": "9Mbps", "max-players-per-stream": "9", "max-bitrate-per-stream": "9Mbps", "limit-grace": "9s", "limit-block": "9s",
	"backend-silence": "9s", "shield": "off", "migration": "off", "overload": "off", "drain-delay": "9s", "grace": "9s", "session-ledger": "/x", "crash-recovery": "off", "takeover-socket": "/x", "event-log": "/x", "event-log-size": "1MiB", "log-level": "debug",
	"log-format": "json", "cookie-secret-file": "/s",
}

// A change of each setting is found, and only what is in place takes effect.
func TestReloadOfEverySetting(t *testing.T) {
	pairs := []string{"api-tls-cert", "api-tls-key", "read-token", "takeover", "cluster-listen"} // need another setting; see the next test
	for i := range fields {
		f := &fields[i]
		value, ok := other[f.name]
		if !ok {
			if !slices.Contains(pairs, f.name) {
				t.Errorf("--%s: this test has no other value", f.name)
			}
			continue
		}
		file := &changing{text: "# empty\n"}
		c := file.start(t, "", nil)
		file.text = f.name + ": " + value + "\n"
		next, err := c.Reload(accept)
		if err != nil {
			t.Errorf("--%s: %v", f.name, err)
			continue
		}
		if len(next.Changes) != 1 || next.Changes[0].Name != f.name || next.Changes[0].InPlace != (f.reload == inPlace) {
			t.Errorf("--%s: changes %+v", f.name, next.Changes)
		}
		before, after := valueOf(c.Values, f.name), valueOf(next.Config.Values, f.name)
		if (before != after) != (f.reload == inPlace) {
			t.Errorf("--%s: %s, after the reload %s", f.name, before, after)
		}
		again, err := next.Config.Reload(accept)
		if err != nil || (len(again.Changes) == 0) != (f.reload == inPlace) {
			t.Errorf("--%s: a second reload finds %+v, %v", f.name, again.Changes, err)
		}
	}
}

func TestReload(t *testing.T) {
	const token = "register-token: correct-horse\n"
	for _, c := range []struct {
		name, args, before, after string
		env                       map[string]string
		changed                   string // names, with ! for those that need an upgrade
		wrong                     string
	}{
		{name: "nothing", before: "grace: 60s", after: "grace: 1m"},
		{name: "the default in words", before: "", after: "grace: 20s\nlisten: '[::]:20080'\nsession-ledger: off"},
		{name: "order of backends", before: "backend: [a:1, b:2]", after: "backend: [b:2, a:1]"},
		{name: "weight", before: "backend: [a:1, b:2]", after: "backend: a:1, b:2?weight=2", changed: "backend"},
		{name: "flag wins", args: "--grace 5s", before: "grace: 1s", after: "grace: 2s"},
		{name: "variable wins", env: map[string]string{"SRTRELAY_GRACE": "5s"}, before: "", after: "grace: 2s"},
		{name: "both classes", before: "grace: 1s\nshards: 2", after: "grace: 2s\nshards: 3\nbatch: 9", changed: "!shards !batch grace"},
		{name: "back to the default", before: "grace: 1s\nbatch: 9", after: "", changed: "!batch grace"},
		{name: "tokens", before: token, after: "register-token: battery-staple\nread-token: other-token", changed: "register-token read-token"},
		{name: "pair", before: "", after: "api-tls-cert: a\napi-tls-key: b", changed: "!api-tls-cert !api-tls-key"},
		{name: "take-over", before: "", after: "takeover: auto\ntakeover-socket: /x", changed: "!takeover !takeover-socket"},
		{name: "unknown key", before: "", after: "a: 1\ngrce: 1", wrong: `config: relay.yaml:1: key "a": unknown key`},
		{name: "value", before: "", after: "\ngrace: soon", wrong: `config: relay.yaml:2: key "grace": "soon": not a duration`},
		{name: "secret value", before: "", after: "register-token: sesame", wrong: `config: relay.yaml:1: key "register-token": "***": not 8`},
		{name: "overridden", args: "--grace 5s", before: "", after: "grace: soon", wrong: `config: relay.yaml:1: key "grace"`},
		// Neither file is wrong, but the API stays where other hosts can reach it.
		{
			name: "mixture", before: "api: 0.0.0.0:8080\n" + token, after: "api: 127.0.0.1:8080",
			wrong: `"0.0.0.0:8080": other hosts could reach it, which needs --register-token or --api-allow-remote (with the settings`,
		},
		{name: "self", before: "listen: 127.0.0.1:7000", after: "listen: 127.0.0.1:7001\nbackend: 127.0.0.1:7000", wrong: "is the relay itself (with"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := &changing{text: c.before}
			old := file.start(t, c.args, c.env)
			file.text = c.after
			next, err := old.Reload(accept)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("error %v, want %s", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var changed []string
			for _, one := range next.Changes {
				mark := map[bool]string{false: "!"}[one.InPlace]
				changed = append(changed, mark+one.Name)
				if text := one.From + one.To; strings.Contains(text, "horse") || strings.Contains(text, "staple") || strings.Contains(text, "other-token") {
					t.Errorf("a secret shows: %+v", one)
				}
			}
			want := strings.Fields(c.changed)
			if slices.Sort(changed); !slices.Equal(changed, slices.Sorted(slices.Values(want))) {
				t.Errorf("changed %q, want %q", changed, want)
			}
		})
	}
}

// A file that cannot be read is an error as at the start, and without a file there is
// nothing to read.
func TestReloadWithoutFile(t *testing.T) {
	file := &changing{}
	c := file.start(t, "", nil)
	file.err = &fs.PathError{Op: "open", Path: "relay.yaml", Err: fs.ErrNotExist}
	if _, err := c.Reload(accept); err == nil || err.Error() != "config: file relay.yaml: file does not exist" {
		t.Error(err)
	}
	c = mustLoad(t, source{})
	if _, err := c.Reload(accept); !errors.Is(err, ErrNoFile) {
		t.Error(err)
	}
}

// The CPUs of the start count, though the relay has raised GOMAXPROCS since.
func TestReloadKeepsComputedShards(t *testing.T) {
	file := &changing{text: "shards: 3"}
	c := file.start(t, "", nil)
	c.inputs.cpus = 5
	file.text = ""
	next, err := c.Reload(accept)
	if err != nil || len(next.Changes) != 1 || next.Changes[0].To != "5" || next.Config.Shards != 3 {
		t.Errorf("%+v, %d shards, %v", next.Changes, next.Config.Shards, err)
	}
}

// What the process cannot apply stays, with all that it was.
func TestReloadRefused(t *testing.T) {
	file := &changing{text: "max-sessions: 7\ngrace: 1s"}
	c := file.start(t, "", nil)
	file.text = "max-sessions: 8\ngrace: 2s"
	next, err := c.Reload(func(name string, file *Config) string {
		if name == "max-sessions" && file.MaxSessions > 7 {
			return "no memory"
		}
		return ""
	})
	if err != nil || len(next.Changes) != 2 || next.Config.MaxSessions != 7 || next.Config.Grace != 2*time.Second {
		t.Fatalf("%+v, %d, %v, %v", next.Changes, next.Config.MaxSessions, next.Config.Grace, err)
	}
	if one := next.Changes[0]; one != (Change{Name: "max-sessions", From: "7", To: "8", Why: "no memory"}) {
		t.Errorf("%+v", one)
	}
}
