package config

import "time"

// limitFields are the limits on callers and streams (docs/limits.md), and times.
var limitFields = []field{
	{
		name: "max-sessions", reload: inPlace, group: groupLimits, arg: "N", def: "100000",
		help: "most sessions per shard; further callers are rejected with 2402",
		set:  setInt(func(c *Config) *int { return &c.MaxSessions }, 1, maxSessions),
	},
	{
		name: "max-sessions-per-source", reload: inPlace, group: groupLimits, arg: "N", def: "20000",
		help: "most sessions per caller IP address (IPv6: per /64), of all shards; more are rejected with 2402; 0 for no limit",
		set:  setInt(func(c *Config) *int { return &c.MaxSessionsPerSource }, 0, maxSessions),
	},
	{
		name: "max-sessions-per-subnet", reload: inPlace, group: groupLimits, arg: "N", def: "50000",
		help: "most sessions per /24 of callers (IPv6: per /56), of all shards; 0 for no limit",
		set:  setInt(func(c *Config) *int { return &c.MaxSessionsPerSubnet }, 0, maxSessions),
	},
	{
		name: "max-connects-per-source", reload: inPlace, group: groupLimits, arg: "N", def: "2000",
		help: "most connects per second and caller IP address (IPv6: per /64), over 10 s; more get 2402; 0 for no limit",
		set:  setInt(func(c *Config) *int { return &c.MaxConnectsPerSource }, 0, maxConnects),
	},
	{
		name: "max-connects-per-subnet", reload: inPlace, group: groupLimits, arg: "N", def: "5000",
		help: "most connects per second and /24 of callers (IPv6: per /56), over 10 s; 0 for no limit",
		set:  setInt(func(c *Config) *int { return &c.MaxConnectsPerSubnet }, 0, maxConnects),
	},
	{
		name: "max-bitrate-per-source", reload: inPlace, group: groupLimits, arg: "RATE", def: "0",
		help: "bitrate of a caller IP address (IPv6: of a /64), like 200Mbps, at which further callers get 2402; 0 for no limit",
		set:  setBitrate(func(c *Config) *int64 { return &c.MaxBitratePerSource }),
	},
	{
		name: "max-bitrate-per-subnet", reload: inPlace, group: groupLimits, arg: "RATE", def: "0",
		help: "bitrate of a /24 of callers (IPv6: of a /56) at which further callers get 2402; 0 for no limit",
		set:  setBitrate(func(c *Config) *int64 { return &c.MaxBitratePerSubnet }),
	},
	{
		name: "max-players-per-stream", reload: inPlace, group: groupLimits, arg: "N", def: "0",
		help: "most players per stream, of all shards; further ones are rejected with 2402; 0 for no limit",
		set:  setInt(func(c *Config) *int { return &c.MaxPlayersPerStream }, 0, maxSessions),
	},
	{
		name: "max-bitrate-per-stream", reload: inPlace, group: groupLimits, arg: "RATE", def: "0",
		help: "end a publisher that sends more than this, like 20Mbps, on 5 s' average for --limit-grace; 0 for no limit",
		set:  setBitrate(func(c *Config) *int64 { return &c.MaxBitratePerStream }),
	},
	{
		name: "limit-grace", reload: inPlace, group: groupLimits, arg: "TIME", def: "10s",
		help: "how long a publisher may be above --max-bitrate-per-stream before it is ended",
		set:  setDuration(func(c *Config) *time.Duration { return &c.LimitGrace }, 0),
	},
	{
		name: "limit-block", reload: inPlace, group: groupLimits, arg: "TIME", def: "1m",
		help: "how long publishers of a stream are rejected with 2403 after one was ended for its bitrate",
		set:  setDuration(func(c *Config) *time.Duration { return &c.LimitBlock }, 0),
	},
	{
		name: "max-handshakes", reload: inPlace, group: groupLimits, arg: "N", def: "8192",
		help: "most half-open handshakes per shard; a further CONCLUSION is dropped, which the caller repeats",
		set:  setInt(func(c *Config) *int { return &c.MaxHandshakes }, 1, maxSessions),
	},
	{
		name: "max-handshakes-per-source", reload: inPlace, group: groupLimits, arg: "N", def: "4096",
		help: "most half-open handshakes per caller IP address (IPv6: per /64) and shard; 0 for no limit",
		set:  setInt(func(c *Config) *int { return &c.MaxHandshakesPerSource }, 0, maxSessions),
	},
	{
		name: "overload", reload: inPlace, group: groupLimits, arg: "MODE", def: "on",
		help:   "near its limits, give up what running sessions do not need, step by step, then refuse new callers: on or off",
		values: []string{"on", "off"},
		set:    setEither(func(c *Config) *bool { return &c.Overload }, "on"),
	},
	{
		name: "idle-timeout", reload: inPlace, group: groupLimits, arg: "TIME", def: "30s",
		help: "end a session without a datagram either way for this time",
		set:  setDuration(func(c *Config) *time.Duration { return &c.IdleTimeout }, time.Second),
	},
	{
		name: "backend-silence", reload: inPlace, group: groupLimits, arg: "TIME", def: "6s",
		help: "end a session whose backend sends nothing for this time while its caller sends",
		// An idle SRT peer still sends a KEEPALIVE each second: less than
		// that would end healthy sessions.
		set: setDuration(func(c *Config) *time.Duration { return &c.BackendSilence }, time.Second),
	},
	{
		name: "shield", reload: inPlace, group: groupLimits, arg: "MODE", def: "on",
		help:   "drop handshakes and control packets that crash old SRT libraries, both ways: on or off",
		values: []string{"on", "off"},
		set:    setEither(func(c *Config) *bool { return &c.Shield }, "on"),
	},
	{
		name: "migration", reload: inPlace, group: groupLimits, arg: "MODE", def: "on",
		help:   "follow a caller to another address, after it has proven to be there: on or off",
		values: []string{"on", "off"},
		set:    setEither(func(c *Config) *bool { return &c.Migration }, "on"),
	},
	{
		name: "drain-delay", reload: inPlace, group: groupLimits, arg: "TIME", def: "0s",
		help: "after SIGTERM, serve new callers for this time while /ready already says no",
		set:  setDuration(func(c *Config) *time.Duration { return &c.DrainDelay }, 0),
	},
	{
		name: "grace", reload: inPlace, group: groupLimits, arg: "TIME", def: "20s",
		help:    "how long SIGTERM lets sessions drain; 0s ends them at once",
		aliases: []string{"PROXY_GRACE_QUIT_TIMEOUT"},
		set:     setDuration(func(c *Config) *time.Duration { return &c.Grace }, 0),
	},
	{
		name: "session-ledger", reload: needsUpgrade, group: groupLimits, arg: "PATH", shown: "session-ledger in RUNTIME_DIRECTORY, else off",
		help: "file on a tmpfs from which the next process tells the callers of a killed one; off for none",
		set:  setRuntimeFile(func(c *Config) *string { return &c.SessionLedger }),
	},
	{
		name: "crash-recovery", reload: needsUpgrade, group: groupLimits, arg: "MODE", def: CrashRecoveryAuto,
		help:   "have systemd or srtrelay keep hold sockets and sessions for the process after a crash: auto (if it can) or off",
		values: []string{CrashRecoveryAuto, CrashRecoveryOff},
		set:    setText(func(c *Config) *string { return &c.CrashRecovery }),
	},
	{
		name: "takeover", reload: needsUpgrade, group: groupLimits, arg: "MODE", def: TakeOverNever,
		help:   "take everything over from the relay at --takeover-socket: never, auto (if one answers) or require",
		values: []string{TakeOverNever, TakeOverAuto, TakeOverRequire},
		set:    setText(func(c *Config) *string { return &c.TakeOver }),
	},
	{
		name: "takeover-socket", reload: needsUpgrade, group: groupLimits, arg: "PATH", shown: "takeover.sock in RUNTIME_DIRECTORY, else off",
		help: "unix socket at which the next process takes over (srtrelay upgrade); off for none",
		set:  setRuntimeFile(func(c *Config) *string { return &c.TakeOverSocket }),
	},
}
