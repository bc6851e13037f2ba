package config

import (
	"errors"
	"slices"
	"time"
)

// Bounds. They refuse values that must be mistakes; the docs say which values are useful.
const (
	maxShards   = 1024                 // more than any machine has CPUs for
	maxBatch    = 1024                 // UIO_MAXIOV, the kernel's cap for one recvmmsg
	maxWait     = 5 * time.Millisecond // the collector waits as long
	maxPorts    = 64                   // ports and sockets are per shard
	maxListen   = 256                  // a session names its listener in one byte
	maxBackends = 4096                 // as many as may register
	maxSessions = 4_000_000            // per shard; the table would outgrow its memory
	maxConnects = 1_000_000            // per second; no relay lets in as many
	minBuffer   = 64 << 10             // less cannot hold one GRO train of 64 KiB
	maxBuffer   = 1<<30 - 1            // the kernel doubles the value in an int
	maxTimeout  = 24 * time.Hour       // longer is a forgotten unit
	maxWeight   = 1000                 // of one backend against another
	minToken    = 8                    // shorter is guessed
	maxToken    = 256
	maxName     = 64 // as a host's name on Linux
	minEventLog = 64 << 10
	maxEventLog = 16 << 30

	maxMetricsStreams = 10_000 // a dozen series each; more than Prometheus should be given
)

// field is one setting: its name in all sources, its help, its parser.
type field struct {
	name    string
	group   string
	arg     string // placeholder in the usage text; "" for a switch
	def     string // as an operator would write it; "" for none or computed
	shown   string // default in the usage text where def is ""
	help    string
	aliases []string
	values  []string // all values that there are, nil if they are no closed list
	set     func(c *Config, text string) error
	reset   func(c *Config)          // lists only: a higher layer replaces the list
	show    func(text string) string // hides secrets of a value before it is quoted; nil if there are none
	reload  reloadClass
}

func (f *field) list() bool   { return f.reset != nil }
func (f *field) toggle() bool { return f.arg == "" }

// Groups of the usage text, in its order.
const (
	groupFront   = "Callers and control"
	groupBack    = "Backends"
	groupWorkers = "Workers and sockets"
	groupLimits  = "Limits and times"
	groupLog     = "Logging"
)

// fields are all settings except --config, --version and --help, which only make sense on
// the command line (--config also as a variable).
var fields = slices.Concat(generalFields, limitFields, logFields)

var generalFields = []field{
	{
		name: "listen", reload: needsUpgrade, group: groupFront, arg: "ADDR", def: ":20080",
		help:    "SRT listen address, UDP, IPv4 and IPv6; repeatable",
		aliases: []string{"PROXY_SRT_SERVER"},
		set:     setListen,
		reset:   func(c *Config) { c.Listen = nil },
	},
	{
		name: "api", reload: needsUpgrade, group: groupFront, arg: "ADDR", def: "127.0.0.1:12025",
		help:    "HTTP API and metrics",
		aliases: []string{"PROXY_SYSTEM_API"},
		set: func(c *Config, text string) (err error) {
			c.API, err = parseAPI(text)
			return err
		},
	},
	{
		name: "name", reload: inPlace, group: groupFront, arg: "NAME", shown: "the host's name",
		help: "name of this relay, for operators: the API and the page show it",
		set:  setName,
	},
	{
		name: "api-allow-remote", reload: inPlace, group: groupFront, def: "false",
		help: "allow an --api address that other hosts can reach without --register-token",
		set:  setBool(func(c *Config) *bool { return &c.APIAllowRemote }),
	},
	{
		name: "api-host", reload: inPlace, group: groupFront, arg: "NAME", shown: "none",
		help:  "name of this host for API calls without the token, besides addresses and localhost; repeatable",
		set:   setAPIHost,
		reset: func(c *Config) { c.APIHosts = nil },
	},
	{
		name: "api-tls-cert", reload: needsUpgrade, group: groupFront, arg: "FILE", shown: "none",
		help: "PEM file of the API's certificate and chain, for https in place of http; read again when it changes",
		set:  setFile(func(c *Config) *string { return &c.APICert }),
	},
	{
		name: "api-tls-key", reload: needsUpgrade, group: groupFront, arg: "FILE", shown: "none",
		help: "PEM file of the key of --api-tls-cert",
		set:  setFile(func(c *Config) *string { return &c.APIKey }),
	},
	{
		name: "register-token", reload: inPlace, group: groupFront, arg: "TOKEN", shown: "none",
		help: "token of registration and changing API calls: bearer, ?token=, register/TOKEN; safer in a variable or file",
		show: func(string) string { return "***" },
		set:  setToken(func(c *Config) *string { return &c.RegisterToken }),
	},
	{
		name: "read-token", reload: inPlace, group: groupFront, arg: "TOKEN", shown: "none",
		help: "token for API calls that only read, such as lists, metrics and the page; --register-token works too",
		show: func(string) string { return "***" },
		set:  setToken(func(c *Config) *string { return &c.ReadToken }),
	},
	{
		name: "ready-without-backends", reload: inPlace, group: groupFront, def: "false",
		help: "let /ready answer 200 while no backend can take a stream: for backends that register only then",
		set:  setBool(func(c *Config) *bool { return &c.ReadyWithoutBackends }),
	},
	{
		name: "metrics-streams", reload: needsUpgrade, group: groupFront, arg: "N", def: "0",
		help: "streams that have metrics of their own, the oldest first; 0 for none",
		set:  setInt(func(c *Config) *int { return &c.MetricsStreams }, 0, maxMetricsStreams),
	},
	{
		name: "cookie-secret-file", reload: inPlace, group: groupFront, arg: "FILE", shown: "none",
		help: "file of secrets that relays behind one address share, a line each: the first makes cookies",
		set:  setFile(func(c *Config) *string { return &c.CookieSecretFile }),
	},
	{
		name: "cluster-listen", reload: needsUpgrade, group: groupFront, arg: "ADDR", shown: "none",
		help: "UDP address at which other relays pass on datagrams of this relay's sessions; needs --state redis",
		set: func(c *Config, text string) (err error) {
			c.ClusterListen, err = parseCluster(text)
			return err
		},
	},
	{
		name: "backend", reload: inPlace, group: groupBack, arg: "URL", shown: "none",
		help:    "static backend, srt://host:port, ?weight=N for N times the streams, or srv://NAME of SRV records; repeatable",
		aliases: []string{"PROXY_DEFAULT_BACKEND_{ENABLED,IP,SRT}"}, // see readDefaultBackend
		set:     setBackend,
		reset:   func(c *Config) { c.Backends, c.Weights = nil, nil },
	},
	{
		name: "backend-ttl", reload: inPlace, group: groupBack, arg: "TIME", def: "30s",
		help:    "how long a registered backend without a heartbeat still gets new streams",
		aliases: []string{"PROXY_ORIGIN_SERVER_TTL"},
		// SRS's shortest heartbeat is 1 s, and each may be late.
		set: setDuration(func(c *Config) *time.Duration { return &c.BackendTTL }, 2*time.Second),
	},
	{
		name: "rules", reload: inPlace, group: groupBack, arg: "FILE", shown: "none",
		help: "YAML file of stream ID rules; read again on SIGHUP and when it changes",
		set:  setFile(func(c *Config) *string { return &c.Rules }),
	},
	{
		name: "policy", reload: inPlace, group: groupBack, arg: "NAME", def: "least-sessions",
		help:   "how a backend is chosen for a new stream: least-sessions, hash (rendezvous) or random",
		values: []string{"least-sessions", "hash", "random"},
		set:    setText(func(c *Config) *string { return &c.Policy }),
	},
	{
		name: "players-create", reload: inPlace, group: groupBack, def: "true",
		help: "let a player choose the backend of a stream that nobody publishes yet; false refuses it with 2404",
		set:  setBool(func(c *Config) *bool { return &c.PlayersCreate }),
	},
	{
		name: "outlier-detection", reload: inPlace, group: groupBack, arg: "MODE", def: "on",
		help:   "give no new streams for a while to backends that fail callers whom others serve: on or off",
		values: []string{"on", "off"},
		set:    setEither(func(c *Config) *bool { return &c.OutlierDetection }, "on"),
	},
	{
		name: "affinity", reload: inPlace, group: groupBack, arg: "TIME", def: "15s",
		help: "how long a stream stays bound to its backend after its last session",
		set:  setDuration(func(c *Config) *time.Duration { return &c.Affinity }, 0),
	},
	{
		name: "state", reload: needsUpgrade, group: groupBack, arg: "NAME", def: "memory",
		help:    "where it is kept which backend has which stream: memory, or redis to share it with other relays and SRS's proxy",
		aliases: []string{"PROXY_LOAD_BALANCER_TYPE"},
		values:  []string{"memory", "redis"},
		set:     setText(func(c *Config) *string { return &c.State }),
	},
	{
		name: "redis", reload: needsUpgrade, group: groupBack, arg: "URL", def: "redis://127.0.0.1:6379/0",
		help:    redisForms,
		aliases: []string{"PROXY_REDIS_{HOST,PORT,PASSWORD,DB}"}, // see readRedisAlias
		show:    hideRedis,
		set: func(c *Config, text string) (err error) {
			c.Redis, err = parseRedis(text)
			return err
		},
	},
	{
		name: "shards", reload: needsUpgrade, group: groupWorkers, arg: "N", shown: "usable CPUs, or as many as --pin lists",
		help: "number of workers, fixed for the life of the process",
		set:  setInt(func(c *Config) *int { return &c.Shards }, 1, maxShards),
	},
	{
		name: "batch", reload: needsUpgrade, group: groupWorkers, arg: "N", def: "256",
		help: "most datagrams per receive call",
		set:  setInt(func(c *Config) *int { return &c.Batch }, 1, maxBatch),
	},
	{
		name: "batch-wait", reload: needsUpgrade, group: groupWorkers, arg: "TIME", def: "2ms",
		help: "longest time for which datagrams gather under load before the next receive call; 0s for never",
		set:  setWait,
	},
	{
		name: "pin", reload: needsUpgrade, group: groupWorkers, arg: "CPUS", def: "auto",
		help: "CPUs of the shards: auto, off or a list like 0,2-5",
		set: func(c *Config, text string) (err error) {
			c.Pin, err = parsePin(text)
			return err
		},
	},
	{
		name: "steer", reload: needsUpgrade, group: groupWorkers, arg: "BY", def: "flow",
		help:   "which shard gets a caller: flow (by its hash) or cpu (the one that receives it)",
		values: []string{"cpu", "flow"},
		set:    setEither(func(c *Config) *bool { return &c.SteerByCPU }, "cpu"),
	},
	{
		name: "telemetry", reload: needsUpgrade, group: groupWorkers, arg: "MODE", def: "on",
		help:   "measure the SRT quality of each session: on or off",
		values: []string{"on", "off"},
		set:    setEither(func(c *Config) *bool { return &c.Telemetry }, "on"),
	},
	{
		name: "gro", reload: needsUpgrade, group: groupWorkers, arg: "MODE", def: "auto",
		help:   "let the kernel join received datagrams: auto or off",
		values: []string{"auto", "off"},
		set:    setEither(func(c *Config) *bool { return &c.GRO }, "auto"),
	},
	{
		name: "gso", reload: needsUpgrade, group: groupWorkers, arg: "MODE", def: "auto",
		help:   "let the kernel split sent superpackets: auto or off",
		values: []string{"auto", "off"},
		set:    setEither(func(c *Config) *bool { return &c.GSO }, "auto"),
	},
	{
		name: "kernel-path", reload: needsUpgrade, group: groupWorkers, arg: "MODE", def: "auto",
		help:   "relay established sessions in the kernel (Linux 6.6): auto, off or require",
		values: []string{KernelPathAuto, KernelPathOff, KernelPathRequire},
		set:    setText(func(c *Config) *string { return &c.KernelPath }),
	},
	{
		name: "kernel-path-local", reload: needsUpgrade, group: groupWorkers, arg: "WAY", def: "redirect",
		help:   "how it reaches backends of this host: redirect, or accept (needs accept_local)",
		values: []string{"accept", "redirect"},
		set:    setEither(func(c *Config) *bool { return &c.KernelPathAccept }, "accept"),
	},
	{
		name: "rcvbuf", reload: needsUpgrade, group: groupWorkers, arg: "SIZE", def: "16MiB",
		help: "receive buffer per socket, as asked of the kernel",
		set:  setSize(func(c *Config) *int { return &c.Rcvbuf }, minBuffer, maxBuffer),
	},
	{
		name: "sndbuf", reload: needsUpgrade, group: groupWorkers, arg: "SIZE", def: "16MiB",
		help: "send buffer per socket, as asked of the kernel",
		set:  setSize(func(c *Config) *int { return &c.Sndbuf }, minBuffer, maxBuffer),
	},
	{
		name: "upstream-ports", reload: needsUpgrade, group: groupWorkers, arg: "N", def: "4",
		help: "most local ports per shard towards backends",
		set:  setInt(func(c *Config) *int { return &c.UpstreamPorts }, 1, maxPorts),
	},
}

// logFields are those of the log and the events.
var logFields = []field{
	{
		name: "event-log", reload: needsUpgrade, group: groupLog, arg: "FILE", shown: "none",
		help: "file of all events, one line of JSON each; - for standard output",
		set: func(c *Config, text string) error {
			if text == "" {
				return errors.New("file name missing")
			}
			c.EventLog = text
			return nil
		},
	},
	{
		name: "event-log-size", reload: needsUpgrade, group: groupLog, arg: "SIZE", def: "64MiB",
		help: "size at which the event log becomes FILE.1, FILE.1 becomes FILE.2 and so on, up to FILE.4",
		set:  setSize(func(c *Config) *int { return &c.EventLogSize }, minEventLog, maxEventLog),
	},
	{
		name: "log-level", reload: inPlace, group: groupLog, arg: "LEVEL", def: "info",
		help:   "debug, info, warn or error",
		values: []string{"debug", "info", "warn", "error"},
		set:    setLevel,
	},
	{
		name: "log-format", reload: needsUpgrade, group: groupLog, arg: "FORMAT", def: "text",
		help:   "text or json",
		values: []string{"text", "json"},
		set:    setText(func(c *Config) *string { return &c.LogFormat }),
	},
}

func fieldByName(name string) *field {
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return nil
	}
	return &fields[i]
}
