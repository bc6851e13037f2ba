package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"srtrelay/internal/golden"
)

// Every setting has a value and an origin, and no secret shows.
func TestValues(t *testing.T) {
	c := mustLoad(t, source{
		args: "--config relay.yaml --shards 3 --backend a:1 --backend b:2",
		env:  map[string]string{"SRTRELAY_REGISTER_TOKEN": "correct-horse", "PROXY_GRACE_QUIT_TIMEOUT": "9s"},
		file: "affinity: 7s\nredis: redis://user:secret@10.0.0.1:6379/0\npolicy: least-sessions\n",
	})
	if len(c.Values) != len(fields) {
		t.Fatalf("%d values of %d settings", len(c.Values), len(fields))
	}
	for _, want := range []Value{
		{"shards", "3", "--shards"},
		{"backend", "a:1,b:2", "--backend"},
		{"register-token", "***", "SRTRELAY_REGISTER_TOKEN"},
		{"grace", "9s", "PROXY_GRACE_QUIT_TIMEOUT"},
		{"affinity", "7s", `relay.yaml:1: key "affinity"`},
		{"policy", "least-sessions", `relay.yaml:3: key "policy"`}, // though it is the default
		{"batch-wait", "2ms", ""},
		{"api-host", "none", ""},
		{"session-ledger", "off", ""},
		{"takeover-socket", "off", ""},
	} {
		if !slices.Contains(c.Values, want) {
			t.Errorf("no %+v in %+v", want, c.Values)
		}
	}
	for _, v := range c.Values {
		if strings.Contains(v.Text, "secret") || strings.Contains(v.Text, "horse") {
			t.Errorf("a secret shows: %+v", v)
		}
		if v.Text == "" {
			t.Errorf("%s has no value", v.Name)
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	got := UnknownVariables([]string{
		"HOME=/root", "SRTRELAY_SHARDS=2", "SRTRELAY_SHARD=2", "SRTRELAY_XYZZY=1", "SRTRELAY_EMPTY=", "SRTRELAY_CONFIG=x", "SRTRELAY_API=x",
		"PROXY_RTMP_SERVER=1935", "PROXY_HTTP_API=1985", "PROXY_SRT_SERVER=20080", "PROXY_REDIS_HOST=h",
		"PROXY_DEFAULT_BACKEND_SRT=1", "PROXY_DEFAULT_BACKEND_RTMP=1",
	})
	want := []string{
		`SRTRELAY_SHARD: unknown variable, did you mean "SRTRELAY_SHARDS"?`,
		`SRTRELAY_XYZZY: unknown variable`,
		`PROXY_DEFAULT_BACKEND_RTMP, PROXY_HTTP_API, PROXY_RTMP_SERVER: ignored, they concern what this relay does not do (RTMP, HTTP, WebRTC)`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// deploy/relay.yaml has every key with its default, and without its comment
// signs each one loads to that default.
func TestSampleFile(t *testing.T) {
	const file = "../deploy/relay.yaml"
	text := golden.File(t, file, func() []byte { return []byte(Sample()) })
	if string(text) != Sample() {
		t.Error("deploy/relay.yaml is not what config.Sample makes: go test ./config -run Sample -update")
	}
	want := mustLoad(t, source{})
	got := mustLoad(t, source{args: "--config relay.yaml", file: string(text)})
	want.Values, want.inputs = nil, nil
	if got.File, got.Values, got.inputs = "", nil, nil; !reflect.DeepEqual(got, want) {
		t.Errorf("as it is: %+v, want %+v", got, want)
	}
	var keys strings.Builder
	for line := range strings.Lines(string(text)) {
		if key, isKey := strings.CutPrefix(line, "#"); isKey && !strings.HasPrefix(key, " ") && !strings.Contains(key, "# default") && key != "\n" {
			keys.WriteString(strings.Replace(key, "listen: []", "", 1))
		}
	}
	got = mustLoad(t, source{args: "--config relay.yaml", file: keys.String()})
	if got.File, got.Values, got.inputs = "", nil, nil; !reflect.DeepEqual(got, want) {
		t.Errorf("with every key: %+v, want %+v\n%s", got, want, keys.String())
	}
}
