// Package config turns flags, environment and an optional YAML file into one
// validated Config.
//
// Only this package knows the names, defaults and bounds of settings. It must not know what
// a setting is used for: it opens no socket, resolves no name and imports no other package
// of the relay.
package config

import (
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"time"
)

// The values of Config.KernelPath.
const (
	KernelPathAuto    = "auto" // where kernel and rights allow it
	KernelPathOff     = "off"
	KernelPathRequire = "require" // the relay does not start without it
)

// The values of Config.TakeOver.
const (
	TakeOverNever   = "never"
	TakeOverAuto    = "auto"    // if a relay answers
	TakeOverRequire = "require" // the relay does not start if none does
)

// The values of Config.CrashRecovery.
const (
	CrashRecoveryAuto = "auto" // if the service manager keeps descriptors
	CrashRecoveryOff  = "off"
)

// Config holds the settings of a relay. Load returns it; from then on it is read-only,
// including its slices.
type Config struct {
	// File is the name of the settings file, "" for none.
	File string

	// Name is the relay's name for operators, "" for the host's.
	Name string

	// Listen are the SRT listen addresses, at least one. The unspecified IPv6 address
	// means both families; port 0 means any free port.
	Listen []netip.AddrPort
	// API is the address of the HTTP API.
	API netip.AddrPort
	// APIAllowRemote permits an API address that other hosts can reach, even without a
	// token.
	APIAllowRemote bool
	// APIHosts are the names that a Host header may hold beside IP addresses and
	// localhost, in lower case.
	APIHosts []string
	// APICert and APIKey are the files of the API's certificate and its key, "" for plain
	// HTTP. They are not read here.
	APICert, APIKey string
	// RegisterToken must come with API calls that change something; "" for no token.
	RegisterToken string
	// ReadyWithoutBackends lets /ready say 200 while no backend can take a stream.
	ReadyWithoutBackends bool
	// ReadToken must come with API calls that only read, unless RegisterToken does; ""
	// for none.
	ReadToken string
	// MetricsStreams is the number of streams with metrics of their own.
	MetricsStreams int
	// Backends are the static backends as host:port or srv://NAME. Names are not
	// resolved.
	Backends []string
	// Weights are the weights of static backends other than 1.
	Weights map[string]int
	// BackendTTL is how long a registered backend's heartbeat is valid.
	BackendTTL time.Duration
	// Rules is the file of stream ID rules, "" for none. It is not read here.
	Rules string

	// Policy names the way to choose a backend for a new stream.
	Policy string
	// PlayersCreate lets a player choose the backend of a stream that nobody
	// publishes yet.
	PlayersCreate bool
	// OutlierDetection ejects backends that fail callers more often than others: they
	// get no new streams for a while.
	OutlierDetection bool
	// Affinity is how long a stream stays bound to its backend after its last
	// session.
	Affinity time.Duration
	// State is where the choices are kept: memory or redis.
	State string
	// Redis is the address of Redis, used with State redis only.
	Redis Redis

	// CookieSecretFile is the file of the secrets that relays behind one address share, ""
	// for none. It is not read here.
	CookieSecretFile string
	// ClusterListen is the address where other relays pass datagrams on to this one; the
	// zero value for none.
	ClusterListen netip.AddrPort

	// Shards is the number of shards.
	Shards int
	// Batch is the most datagrams of one receive call.
	Batch int
	// BatchWait is the longest pause in which datagrams gather under load; 0 for none.
	BatchWait time.Duration
	// Pin says on which CPUs the shards run.
	Pin Pin
	// SteerByCPU gives a datagram to the shard of the CPU that received it, instead of
	// choosing the shard by the flow hash.
	SteerByCPU bool
	// Telemetry turns on the measurement of every session's quality.
	Telemetry bool
	// KernelPath says whether established sessions are relayed in the kernel: auto, off or
	// require.
	KernelPath string
	// KernelPathAccept passes datagrams to backends of this host on without a redirect.
	KernelPathAccept bool
	// GRO and GSO are true for auto: used where the kernel has them.
	GRO, GSO bool
	// Rcvbuf and Sndbuf are the socket buffer sizes to ask for, in bytes.
	Rcvbuf, Sndbuf int
	// UpstreamPorts is the most upstream sockets per shard and address family.
	UpstreamPorts int

	// MaxSessions caps the sessions per shard.
	MaxSessions int
	// MaxSessionsPerSource caps the sessions of one caller IP address (IPv6: of
	// one /64), MaxSessionsPerSubnet those of one /24 or /56, of all shards together.
	// 0 is no limit, as in all that follow of a source, a subnet or a stream.
	MaxSessionsPerSource, MaxSessionsPerSubnet int
	// MaxConnectsPerSource is how many callers of a source, or a subnet, are let in per
	// second, on the average of 10 s.
	MaxConnectsPerSource, MaxConnectsPerSubnet int
	// MaxBitratePerSource is the bitrate of a source's sessions, in bit/s, from which on
	// further callers are rejected.
	MaxBitratePerSource, MaxBitratePerSubnet int64
	// MaxPlayersPerStream caps the players of a stream. A publisher that sends more than
	// MaxBitratePerStream for LimitGrace is ended, and others are rejected for
	// LimitBlock.
	MaxPlayersPerStream    int
	MaxBitratePerStream    int64
	LimitGrace, LimitBlock time.Duration
	// MaxHandshakes caps the half-open handshakes per shard.
	MaxHandshakes int
	// MaxHandshakesPerSource caps the half-open handshakes of one caller IP
	// address (IPv6: of one /64) per shard.
	MaxHandshakesPerSource int
	// Overload has the relay give up, near its limits, what running sessions do not need,
	// and then refuse new callers.
	Overload bool
	// IdleTimeout is how long a session may have no datagram in either direction.
	IdleTimeout time.Duration
	// BackendSilence is how long a backend may send nothing in a session whose caller
	// sends; less if it does not answer probes either (docs/adr/0016-silence.md).
	BackendSilence time.Duration
	// Shield drops handshakes and control packets that crash old SRT libraries.
	Shield bool
	// Migration has sessions follow their callers to other addresses
	// (docs/adr/0024-migration.md).
	Migration bool
	// DrainDelay is how long new callers are served after the first stop signal.
	DrainDelay time.Duration
	// Grace is how long sessions may continue after the first stop signal.
	Grace time.Duration
	// SessionLedger is the file that records established sessions for the
	// process that follows a killed one, "" for none.
	SessionLedger string

	// CrashRecovery says whether sockets and sessions are kept for the process that
	// follows a crash: auto or off.
	CrashRecovery string

	// TakeOver says whether the relay begins by taking everything over from a running one:
	// never, auto or require.
	TakeOver string
	// TakeOverSocket is where the running relay listens for that, and this one later, ""
	// for nowhere.
	TakeOverSocket string

	// EventLog is the file to which events are written, - for standard output, ""
	// for none. It is rotated at EventLogSize bytes.
	EventLog     string
	EventLogSize int

	LogLevel slog.Level
	// LogFormat is text or json.
	LogFormat string

	// Values are all settings as they were written, in the order of Settings.
	Values []Value

	// Warnings are lines for the operator about settings that are allowed
	// but probably not meant.
	Warnings []string

	inputs *inputs // for Reload
}

// Pin says on which CPUs the shards run: on the CPUs listed, one each; with an empty list
// on CPUs that the relay chooses if Auto is set, else without an affinity.
type Pin struct {
	Auto bool
	CPUs []int
}

var (
	// ErrHelp says that the command line asked for the usage text.
	ErrHelp = errors.New("config: help requested")
	// ErrVersion says that the command line asked for the version.
	ErrVersion = errors.New("config: version requested")
)

// Load reads the settings. In order of precedence they come from flags, SRTRELAY_
// variables, the variables of SRS's proxy, the file and the defaults. An empty variable
// counts as unset. An error is one line that names the setting and its source.
func Load(args []string, env func(string) (string, bool), readFile func(string) ([]byte, error)) (Config, error) {
	// GOMAXPROCS follows the affinity mask and the cgroup's CPU quota.
	return load(inputs{args: args, env: env, readFile: readFile, cpus: runtime.GOMAXPROCS(0)})
}

func load(in inputs) (Config, error) {
	env := in.env
	flags, err := parseFlags(in.args)
	if err != nil {
		return Config{}, err
	}
	vars := readEnv(env)
	aliases, err := readAliases(env, flags, vars)
	if err != nil {
		return Config{}, err
	}

	var file layer
	name := flags.file
	if name == "" {
		name, _ = env(envName("config"))
	}
	if name != "" {
		if file, err = loadFile(name, in.readFile); err != nil {
			return Config{}, err
		}
	}

	c := Config{File: name, inputs: &in}
	from := origins{}
	in.written = from
	// Every layer is checked, even if a higher one overrides it: a bad value in a file
	// must not stay unnoticed until the flag is removed.
	for _, l := range []layer{defaults(), file, aliases, vars, flags.set} {
		if err := l.apply(&c, from); err != nil {
			return Config{}, err
		}
	}
	if err := c.finish(from); err != nil {
		return Config{}, err
	}
	c.SessionLedger = runtimePath(c.SessionLedger, ledgerName, env)
	c.TakeOverSocket = runtimePath(c.TakeOverSocket, takeOverName, env)
	if err := c.checkTakeOver(from); err != nil {
		return Config{}, err
	}
	c.Values = c.values(from)
	return c, nil
}

// finish sets what depends on the machine or on other settings, and checks the result.
func (c *Config) finish(from origins) error {
	if c.Shards == 0 {
		// A shard without a CPU of its own only adds switches.
		c.Shards = min(c.inputs.cpus, maxShards)
		if n := len(c.Pin.CPUs); n > 0 {
			c.Shards = n
		}
	}
	return c.check(from)
}
