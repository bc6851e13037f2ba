package config

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// source is everything that Load may read.
type source struct {
	args string // split at blanks
	env  map[string]string
	file string // content of relay.yaml
}

func (s source) load() (Config, error) {
	env := func(name string) (string, bool) {
		text, ok := s.env[name]
		return text, ok
	}
	read := func(name string) ([]byte, error) {
		if name != "relay.yaml" {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return []byte(s.file), nil
	}
	return Load(strings.Fields(s.args), env, read)
}

func mustLoad(t *testing.T, s source) Config {
	t.Helper()
	c, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	got := mustLoad(t, source{})
	want := Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("[::]:20080")},
		API:    netip.MustParseAddrPort("127.0.0.1:12025"),
		Policy: "least-sessions", PlayersCreate: true, OutlierDetection: true, Affinity: 15 * time.Second,
		BackendTTL: 30 * time.Second,
		State:      "memory", Redis: Redis{Mode: "single", Addrs: []string{"127.0.0.1:6379"}},
		Shards: runtime.GOMAXPROCS(0), Batch: 256, BatchWait: 2 * time.Millisecond, Pin: Pin{Auto: true}, KernelPath: KernelPathAuto, GRO: true, GSO: true, Telemetry: true,
		Rcvbuf: 16 << 20, Sndbuf: 16 << 20, UpstreamPorts: 4,
		MaxSessions: 100000, MaxSessionsPerSource: 20000, MaxSessionsPerSubnet: 50000, MaxHandshakes: 8192, MaxHandshakesPerSource: 4096,
		MaxConnectsPerSource: 2000, MaxConnectsPerSubnet: 5000, LimitGrace: 10 * time.Second, LimitBlock: time.Minute,
		IdleTimeout: 30 * time.Second, BackendSilence: 6 * time.Second, Overload: true, Shield: true, Migration: true, Grace: 20 * time.Second,
		CrashRecovery: CrashRecoveryAuto, TakeOver: TakeOverNever, EventLogSize: 64 << 20, LogLevel: slog.LevelInfo, LogFormat: "text",
		Warnings: []string{"no backend: callers are refused until one registers, or set --backend srt://host:port"},
	}
	got.Values, got.inputs = nil, nil // see TestValues
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEverySettingFromFlagAndFile(t *testing.T) {
	settings := [][2]string{
		{"listen", "udp://:20081,[::1]:20082,0.0.0.0:20083"},
		{"api", "0.0.0.0:8080"},
		{"name", "edge-1"},
		{"api-allow-remote", "true"},
		{"api-host", "Relay-1.example.,relay-1"},
		{"api-tls-cert", "/etc/srtrelay/api.crt"},
		{"api-tls-key", "/etc/srtrelay/api.key"},
		{"register-token", "a-token-of-16+/="},
		{"ready-without-backends", "true"},
		{"read-token", "another-token"},
		{"metrics-streams", "10"},
		{"backend", "srt://Origin-1.example:10080,10.0.0.2:10080?weight=3,[fd00::1]:10080,srv://media.example"},
		{"backend-ttl", "45s"},
		{"rules", "/etc/srtrelay/rules.yaml"},
		{"policy", "hash"},
		{"players-create", "false"},
		{"outlier-detection", "off"},
		{"affinity", "1m"},
		{"state", "redis"},
		{"redis", "rediss://relay:secret@redis.example/2"},
		{"cookie-secret-file", "/etc/srtrelay/cookie-secret"},
		{"cluster-listen", "10.0.0.1:20090"},
		{"shards", "3"},
		{"batch", "1024"},
		{"batch-wait", "250us"},
		{"pin", "0,2-5"},
		{"steer", "cpu"},
		{"telemetry", "off"},
		{"gro", "off"},
		{"gso", "off"},
		{"kernel-path", "require"},
		{"kernel-path-local", "accept"},
		{"rcvbuf", "512KiB"},
		{"sndbuf", "4MB"},
		{"upstream-ports", "64"},
		{"max-sessions", "7"},
		{"max-sessions-per-source", "8"},
		{"max-sessions-per-subnet", "9"},
		{"max-connects-per-source", "10"},
		{"max-connects-per-subnet", "11"},
		{"max-bitrate-per-source", "12Mbps"},
		{"max-bitrate-per-subnet", "1.5Gbps"},
		{"max-players-per-stream", "13"},
		{"max-bitrate-per-stream", "800kbps"},
		{"limit-grace", "14s"},
		{"limit-block", "15m"},
		{"max-handshakes", "6"},
		{"max-handshakes-per-source", "5"},
		{"overload", "off"},
		{"idle-timeout", "1m"},
		{"backend-silence", "1500ms"},
		{"shield", "off"},
		{"migration", "off"},
		{"drain-delay", "5s"},
		{"grace", "0s"},
		{"session-ledger", "/run/srtrelay/ledger"},
		{"crash-recovery", "off"},
		{"takeover", "auto"},
		{"takeover-socket", "/run/srtrelay/take-over"},
		{"event-log", "/var/log/srtrelay/events.json"},
		{"event-log-size", "1MiB"},
		{"log-level", "debug"},
		{"log-format", "json"},
	}
	if len(settings) != len(fields) {
		t.Fatalf("%d settings tested, there are %d", len(settings), len(fields))
	}
	var fromFlags, fromFile, fromEnv source
	fromEnv.env = map[string]string{}
	for _, s := range settings {
		fromFlags.args += " --" + s[0] + "=" + s[1]
		fromFile.file += s[0] + ": " + s[1] + "\n"
		fromEnv.env[envName(s[0])] = s[1]
	}
	fromFile.file = strings.Replace(fromFile.file, "listen: udp://:20081,[::1]:20082,0.0.0.0:20083",
		"listen: ['udp://:20081', '[::1]:20082', '0.0.0.0:20083']", 1)
	fromFile.args = "--config relay.yaml"

	want := Config{
		Name: "edge-1", ReadyWithoutBackends: true,
		CrashRecovery: CrashRecoveryOff, CookieSecretFile: "/etc/srtrelay/cookie-secret", ClusterListen: netip.MustParseAddrPort("10.0.0.1:20090"),
		Listen: []netip.AddrPort{
			netip.MustParseAddrPort("[::]:20081"),
			netip.MustParseAddrPort("[::1]:20082"),
			netip.MustParseAddrPort("0.0.0.0:20083"),
		},
		API: netip.MustParseAddrPort("0.0.0.0:8080"), APIAllowRemote: true, APIHosts: []string{"relay-1.example", "relay-1"},
		APICert: "/etc/srtrelay/api.crt", APIKey: "/etc/srtrelay/api.key",
		RegisterToken: "a-token-of-16+/=", ReadToken: "another-token", MetricsStreams: 10,
		Backends: []string{"origin-1.example:10080", "10.0.0.2:10080", "[fd00::1]:10080", "srv://_srt._udp.media.example"},
		Weights:  map[string]int{"10.0.0.2:10080": 3}, BackendTTL: 45 * time.Second,
		Rules:  "/etc/srtrelay/rules.yaml",
		Policy: "hash", Affinity: time.Minute, State: "redis",
		Redis: Redis{
			Mode: "single", Addrs: []string{"redis.example:6379"}, DB: 2, Username: "relay", Password: "secret", TLS: true,
		},
		Shards: 3, Batch: 1024, BatchWait: 250 * time.Microsecond, Pin: Pin{CPUs: []int{0, 2, 3, 4, 5}}, KernelPath: KernelPathRequire, KernelPathAccept: true, SteerByCPU: true,
		Rcvbuf: 512 << 10, Sndbuf: 4e6, UpstreamPorts: 64,
		MaxSessions: 7, MaxSessionsPerSource: 8, MaxSessionsPerSubnet: 9, MaxHandshakes: 6, MaxHandshakesPerSource: 5,
		MaxConnectsPerSource: 10, MaxConnectsPerSubnet: 11, MaxBitratePerSource: 12e6, MaxBitratePerSubnet: 1.5e9,
		MaxPlayersPerStream: 13, MaxBitratePerStream: 800e3, LimitGrace: 14 * time.Second, LimitBlock: 15 * time.Minute,
		IdleTimeout: time.Minute, BackendSilence: 1500 * time.Millisecond, DrainDelay: 5 * time.Second,
		SessionLedger: "/run/srtrelay/ledger", TakeOver: TakeOverAuto, TakeOverSocket: "/run/srtrelay/take-over",
		EventLog: "/var/log/srtrelay/events.json", EventLogSize: 1 << 20,
		LogLevel: slog.LevelDebug, LogFormat: "json",
	}
	for name, s := range map[string]source{"flags": fromFlags, "file": fromFile, "env": fromEnv} {
		got := mustLoad(t, s)
		if len(got.Warnings) != 2 { // a token to encode, spare CPUs
			t.Errorf("%s: warnings %q", name, got.Warnings)
		}
		got.Warnings, got.Values, got.File, got.inputs = nil, nil, "", nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
	}
}

func TestPrecedence(t *testing.T) {
	flag := "--config relay.yaml --grace 1s"
	own := map[string]string{"SRTRELAY_GRACE": "2s", "PROXY_GRACE_QUIT_TIMEOUT": "3s"}
	alias := map[string]string{"SRTRELAY_GRACE": "", "PROXY_GRACE_QUIT_TIMEOUT": "3s"}
	for _, c := range []struct {
		name string
		in   source
		want time.Duration
	}{
		{"flag over all", source{flag, own, "grace: 4s"}, 1 * time.Second},
		{"last flag wins", source{flag + " --grace 9s", own, "grace: 4s"}, 9 * time.Second},
		{"variable over alias and file", source{"--config relay.yaml", own, "grace: 4s"}, 2 * time.Second},
		{"alias over file", source{"--config relay.yaml", alias, "grace: 4s"}, 3 * time.Second},
		{"file over default", source{"--config relay.yaml", nil, "grace: 4s"}, 4 * time.Second},
		{"default", source{"--config relay.yaml", nil, "# nothing\n"}, 20 * time.Second},
		{"file named by variable", source{"", map[string]string{"SRTRELAY_CONFIG": "relay.yaml"}, "grace: 4s"}, 4 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mustLoad(t, c.in).Grace; got != c.want {
				t.Errorf("grace %v, want %v", got, c.want)
			}
		})
	}
}

// A list of a higher source replaces the lower one, default included; it must
// not be appended to it.
func TestListsReplace(t *testing.T) {
	s := source{
		args: "--config relay.yaml --listen 1111 --listen 127.0.0.1:2222,[::1]:3333",
		env:  map[string]string{"SRTRELAY_LISTEN": "4444", "SRTRELAY_BACKEND": "b:1, c:2"},
		file: "listen: 5555\nbackend: [a:1]\n",
	}
	c := mustLoad(t, s)
	if s.file = "backend: b:1?weight=9\n"; mustLoad(t, s).Weights != nil {
		t.Error("a weight of the lower source is left")
	}
	want := []netip.AddrPort{
		netip.MustParseAddrPort("[::]:1111"), netip.MustParseAddrPort("127.0.0.1:2222"), netip.MustParseAddrPort("[::1]:3333"),
	}
	if !reflect.DeepEqual(c.Listen, want) {
		t.Errorf("listen %v, want %v", c.Listen, want)
	}
	if want := []string{"b:1", "c:2"}; !reflect.DeepEqual(c.Backends, want) {
		t.Errorf("backends %v, want %v", c.Backends, want)
	}
}

func TestAliases(t *testing.T) {
	c := mustLoad(t, source{env: map[string]string{
		"PROXY_SRT_SERVER": "30080", "PROXY_SYSTEM_API": "13025", "PROXY_LOAD_BALANCER_TYPE": "memory",
		"PROXY_DEFAULT_BACKEND_ENABLED": "on",
	}})
	if got := c.Listen[0].String(); got != "[::]:30080" {
		t.Errorf("listen %s", got)
	}
	if got := c.API.String(); got != "127.0.0.1:13025" {
		t.Errorf("api %s: a bare port must stay on loopback", got)
	}
	if got := mustLoad(t, source{env: map[string]string{"PROXY_ORIGIN_SERVER_TTL": "45s"}}).BackendTTL; got != 45*time.Second {
		t.Errorf("backend TTL %v", got)
	}
	for _, b := range []struct{ enabled, ip, srt, want string }{
		{"on", "", "", "127.0.0.1:10080"},
		{"on", "10.0.0.5", "10081", "10.0.0.5:10081"},
		{"on", "10.0.0.5", ":10081", "10.0.0.5:10081"},
		{"on", "10.0.0.5", "udp://0.0.0.0:10081", "10.0.0.5:10081"},
		{"on", "fd00::1", "udp://[::]:10081/", "[fd00::1]:10081"},
		{"on", "10.0.0.5", "srt://origin:10081", "origin:10081"},
		{"off", "10.0.0.5", "10081", ""},
		{"", "10.0.0.5", "10081", ""},
	} {
		c := mustLoad(t, source{env: map[string]string{
			"PROXY_DEFAULT_BACKEND_ENABLED": b.enabled, "PROXY_DEFAULT_BACKEND_IP": b.ip, "PROXY_DEFAULT_BACKEND_SRT": b.srt,
		}})
		if got := strings.Join(c.Backends, " "); got != b.want {
			t.Errorf("%+v: backend %q", b, got)
		}
	}
	// What only the proxy beside the relay can do must not stop the relay
	// once the relay's own setting says otherwise.
	mustLoad(t, source{args: "--state memory", env: map[string]string{"PROXY_LOAD_BALANCER_TYPE": "etcd"}})
}

func TestShardsFollowPinList(t *testing.T) {
	if c := mustLoad(t, source{args: "--pin 1-3"}); c.Shards != 3 {
		t.Errorf("%d shards for three CPUs", c.Shards)
	}
	if c := mustLoad(t, source{args: "--pin off"}); !reflect.DeepEqual(c.Pin, Pin{}) {
		t.Errorf("pin %+v", c.Pin)
	}
}

// An API that other hosts reach: with a token in silence, without one only when
// asked for, and with a warning.
func TestRemoteAPI(t *testing.T) {
	for args, warnings := range map[string]int{
		"--api :12025 --register-token 12345678": 0, "--api :12025 --api-allow-remote": 1, "--register-token 12345678": 0,
		// SRS's heartbeat has the token in its URL's path.
		"--register-token a/b-c.d_e": 1, "--register-token a;b-c.d_e": 1, "--register-token a-b.c_d~e": 0,
	} {
		if c := mustLoad(t, source{args: args + " --backend a:1"}); len(c.Warnings) != warnings {
			t.Errorf("%s: warnings %q", args, c.Warnings)
		}
	}
}

// SRS's proxy reads a port alone as all interfaces. Here it means loopback, and a warning
// tells operators who come from the proxy.
func TestProxyAPIIsOnLoopback(t *testing.T) {
	for text, warnings := range map[string]int{"12025": 1, "localhost:12025": 1, "127.0.0.1:12025": 0} {
		c := mustLoad(t, source{args: "--backend a:1", env: map[string]string{"PROXY_SYSTEM_API": text}})
		if len(c.Warnings) != warnings {
			t.Errorf("%s: warnings %q", text, c.Warnings)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for args, want := range map[string]error{
		"--help": ErrHelp, "-h": ErrHelp, "--version": ErrVersion, "--shards 2 --version": ErrVersion,
	} {
		if _, err := (source{args: args}).load(); !errors.Is(err, want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestUsageNamesEverything(t *testing.T) {
	text := Usage("")
	for _, f := range fields {
		want := append([]string{"--" + f.name, envName(f.name), f.help, f.def, f.shown}, f.aliases...)
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("usage lacks %q of --%s", w, f.name)
			}
		}
	}
	for line := range strings.Lines(text) {
		if len(line) > 121 {
			t.Errorf("too wide: %s", line)
		}
	}
}

// Each limit on a source, a subnet or a stream can be switched off in the same way.
func TestZeroIsNoLimit(t *testing.T) {
	for _, s := range Settings() {
		if strings.HasPrefix(s.Name, "max-") && strings.Contains(s.Name, "-per-") {
			mustLoad(t, source{args: "--" + s.Name + "=0"})
		}
	}
}
