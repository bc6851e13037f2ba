package config

import "time"

// limitFields are the limits on callers and streams (docs/limits.md).
var limitFields = []field{
	{
		name: "max-sessions", reload: inPlace, group: groupLimits, arg: "N", def: "100000",
		help: "most sessions per shard; further callers are rejected with 2402",
		set:  setInt(func(c *Config) *int { return &c.MaxSessions }, 1, maxSessions),
	},
	{
		name: "max-sessions-per-source", reload: inPlace, group: groupLimits, arg: "N", def: "20000",
		help: "most sessions per caller IP address (IPv6: per /64), of all shards; further ones are rejected with 2402",
		set:  setInt(func(c *Config) *int { return &c.MaxSessionsPerSource }, 1, maxSessions),
	},
	{
		name: "max-sessions-per-subnet", reload: inPlace, group: groupLimits, arg: "N", def: "50000",
		help: "the same per /24 (IPv6: per /56); 0 for no limit",
		set:  setInt(func(c *Config) *int { return &c.MaxSessionsPerSubnet }, 0, maxSessions),
	},
	{
		name: "max-connects-per-source", reload: inPlace, group: groupLimits, arg: "N", def: "2000",
		help: "most callers let in per second and caller IP address (IPv6: per /64), on the average of 10 s, so ten times as many at once; further ones are rejected with 2402; 0 for no limit",
		set:  setInt(func(c *Config) *int { return &c.MaxConnectsPerSource }, 0, maxConnects),
	},
	{
		name: "max-connects-per-subnet", reload: inPlace, group: groupLimits, arg: "N", def: "5000",
		help: "the same per /24 (IPv6: per /56); 0 for no limit",
		set:  setInt(func(c *Config) *int { return &c.MaxConnectsPerSubnet }, 0, maxConnects),
	},
	{
		name: "max-bitrate-per-source", reload: inPlace, group: groupLimits, arg: "RATE", def: "0",
		help: "reject further callers of an IP address (IPv6: of a /64) with 2402 while its sessions relay this much, both ways, on the average of 5 s, such as 200Mbps; 0 for no limit",
		set:  setBitrate(func(c *Config) *int64 { return &c.MaxBitratePerSource }),
	},
	{
		name: "max-bitrate-per-subnet", reload: inPlace, group: groupLimits, arg: "RATE", def: "0",
		help: "the same per /24 (IPv6: per /56); 0 for no limit",
		set:  setBitrate(func(c *Config) *int64 { return &c.MaxBitratePerSubnet }),
	},
	{
		name: "max-players-per-stream", reload: inPlace, group: groupLimits, arg: "N", def: "0",
		help: "most players per stream, of all shards; further ones are rejected with 2402; 0 for no limit",
		set:  setInt(func(c *Config) *int { return &c.MaxPlayersPerStream }, 0, maxSessions),
	},
	{
		name: "max-bitrate-per-stream", reload: inPlace, group: groupLimits, arg: "RATE", def: "0",
		help: "end a publisher that sends more than this on the average of 5 s, such as 20Mbps, for --limit-grace; 0 for no limit",
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
		help: "most half-open handshakes per caller IP address (IPv6: per /64) and shard",
		set:  setInt(func(c *Config) *int { return &c.MaxHandshakesPerSource }, 1, maxSessions),
	},
}
