// Package config turns flags, environment and an optional YAML file into one
// validated Config.
//
// It is the only room that knows what a setting is called, what it defaults
// to and which values make sense. It must not know what a setting is used
// for: it opens no socket, resolves no name and imports no other room.
package config

import (
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"time"
)

// Config is how one relay shall run. Load makes it; from then on it is only
// read, its slices included.
type Config struct {
	// File is the file that was read, "" without one.
	File string

	// Listen are the SRT listen addresses, at least one. The unspecified
	// IPv6 address means both families, port 0 any free one.
	Listen []netip.AddrPort
	// API is where the HTTP API listens.
	API netip.AddrPort
	// APIAllowRemote permits an API address that other hosts can reach
	// although there is no token.
	APIAllowRemote bool
	// APIHosts are the names by which the API may be asked beside addresses
	// and localhost, in small letters.
	APIHosts []string
	// RegisterToken is what API calls that change something must bring, ""
	// for nothing.
	RegisterToken string
	// MetricsStreams is how many streams have metrics of their own.
	MetricsStreams int
	// Backends are the static backends as host:port. Names are not resolved.
	Backends []string
	// Weights are the shares of static backends that have another than 1.
	Weights map[string]int
	// BackendTTL is how long a registered backend's heartbeat is good for.
	BackendTTL time.Duration
	// Rules is the file of stream ID rules, "" for none. It is not read here.
	Rules string

	// Policy is how a backend is chosen for a new stream.
	Policy string
	// PlayersCreate lets a player choose the backend of a stream that nobody
	// publishes yet.
	PlayersCreate bool
	// OutlierDetection gives backends that fail their callers, as others do
	// not, no new streams for a while.
	OutlierDetection bool
	// Affinity is how long a stream stays bound to its backend after its last
	// session.
	Affinity time.Duration
	// State is where the choices are kept: memory or redis.
	State string
	// Redis is where Redis is; of use with State redis only.
	Redis Redis

	// Shards is the number of workers.
	Shards int
	// Batch is how many datagrams one receive call may return.
	Batch int
	// BatchWait is the longest time that datagrams are left to gather under
	// load, 0 for never.
	BatchWait time.Duration
	// Pin says on which CPUs the shards run.
	Pin Pin
	// SteerByCPU gives a datagram to the shard of the CPU that it came in on,
	// instead of going by the flow hash.
	SteerByCPU bool
	// Telemetry has the quality of every session measured.
	Telemetry bool
	// GRO and GSO are true for auto: used where the kernel has them.
	GRO, GSO bool
	// Rcvbuf and Sndbuf are the bytes asked of the kernel per socket.
	Rcvbuf, Sndbuf int
	// UpstreamPorts is the most local ports per shard towards backends.
	UpstreamPorts int

	// MaxSessions is the cap of sessions per shard.
	MaxSessions int
	// MaxSessionsPerSource caps the sessions of one caller IP address (IPv6: of
	// one /64) per shard.
	MaxSessionsPerSource int
	// MaxHandshakes is the cap of half-open handshakes per shard.
	MaxHandshakes int
	// MaxHandshakesPerSource caps the half-open handshakes of one caller IP
	// address (IPv6: of one /64) per shard.
	MaxHandshakesPerSource int
	// IdleTimeout ends a session without a datagram either way.
	IdleTimeout time.Duration
	// BackendSilence is how long a backend may say nothing in a session whose
	// caller sends; less if it answers no probe either (docs/adr/0016-silence.md).
	BackendSilence time.Duration
	// Grace is how long sessions may go on after the first stop signal.
	Grace time.Duration
	// SessionLedger is the file that records established sessions for the
	// process that follows a killed one, "" for none.
	SessionLedger string

	LogLevel slog.Level
	// LogFormat is text or json.
	LogFormat string

	// Values are all settings as they were written, in the order of Settings.
	Values []Value

	// Warnings are lines for the operator about settings that are allowed
	// but probably not meant.
	Warnings []string
}

// Pin says on which CPUs the shards run: on the CPUs listed, one each; with
// an empty list on CPUs that the relay chooses if Auto, else wherever the
// kernel puts them.
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

// Load reads the settings. A flag beats its SRTRELAY_ variable, that beats
// the alias from SRS's proxy, that beats the file, that beats the default. An
// empty variable counts as unset. The error is one line that names the
// setting and where it came from.
func Load(args []string, env func(string) (string, bool), readFile func(string) ([]byte, error)) (Config, error) {
	flags, err := parseFlags(args)
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
		if file, err = loadFile(name, readFile); err != nil {
			return Config{}, err
		}
	}

	c := Config{File: name}
	from := origins{}
	// Every layer is checked, also where a higher one overrides it: a bad
	// value in a file must not wait for the day when the flag is removed.
	for _, l := range []layer{defaults(), file, aliases, vars, flags.set} {
		if err := l.apply(&c, from); err != nil {
			return Config{}, err
		}
	}
	if err := c.finish(from); err != nil {
		return Config{}, err
	}
	c.SessionLedger = ledgerPath(c.SessionLedger, env)
	c.Values = c.values(from)
	return c, nil
}

// finish fills what depends on the machine or on other settings.
func (c *Config) finish(from origins) error {
	if c.Shards == 0 {
		// GOMAXPROCS follows the affinity mask and the cgroup's CPU quota;
		// a shard without a CPU of its own only adds switches.
		c.Shards = min(runtime.GOMAXPROCS(0), maxShards)
		if n := len(c.Pin.CPUs); n > 0 {
			c.Shards = n
		}
	}
	return c.check(from)
}
