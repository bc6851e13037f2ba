package relay

import (
	"context"
	"log/slog"

	"srtrelay/api"
	"srtrelay/balancer"
	"srtrelay/config"
	"srtrelay/shard"
	limits "srtrelay/shard/limit"
)

// reloadStep applies settings to a running relay.
type reloadStep struct {
	settings []string
	// apply is called if one of the settings has changed; nil if a setting is read where
	// it is needed, or commit applies it. It cannot fail.
	apply func(context.Context, *relay, *config.Config)
	// refuse returns why the value of a setting in a file cannot be applied to this
	// process, "" if it can; nil if all can.
	refuse func(r *relay, name string, file *config.Config) string
}

// reloadSteps have every setting that a reload applies, once.
var reloadSteps = []reloadStep{
	{settings: []string{"backend", "rules", "cookie-secret-file"}}, // commit
	{settings: []string{"drain-delay", "grace"}},                   // relay.wait
	{settings: []string{"api-allow-remote"}},                       // only checked, by config
	{settings: []string{"name", "api-host", "register-token", "read-token", "backend-ttl"}, apply: applyAPI, refuse: refuseTTL},
	{settings: []string{"ready-without-backends"}, apply: func(_ context.Context, r *relay, c *config.Config) {
		r.state.withoutBackends.Store(c.ReadyWithoutBackends)
	}},
	{settings: []string{"overload"}, apply: func(_ context.Context, r *relay, c *config.Config) { r.overload.set(c.Overload) }},
	{settings: []string{"log-level"}, apply: func(_ context.Context, r *relay, c *config.Config) { r.level.Set(c.LogLevel) }},
	{
		settings: []string{"policy", "players-create", "outlier-detection", "affinity"},
		apply:    func(_ context.Context, r *relay, c *config.Config) { r.balancer.memory.Set(balancerSettings(*c)) },
		refuse:   refuseAffinity,
	},
	{
		settings: []string{
			"max-sessions", "max-sessions-per-source", "max-handshakes", "max-handshakes-per-source", "idle-timeout", "backend-silence",
			"shield",
			"migration",
			"max-sessions-per-subnet", "max-connects-per-source", "max-connects-per-subnet", "max-bitrate-per-source", "max-bitrate-per-subnet",
			"max-players-per-stream", "max-bitrate-per-stream", "limit-grace", "limit-block",
		},
		apply: applyLimits, refuse: refuseLimits,
	},
}

// apiSettings returns the settings of the API that may change.
func apiSettings(c config.Config) api.Settings {
	return api.Settings{
		Name: nameOf(c), TTL: c.BackendTTL, Token: c.RegisterToken, ReadToken: c.ReadToken, Hosts: c.APIHosts,
	}
}

func applyAPI(_ context.Context, r *relay, c *config.Config) { r.server.set(apiSettings(*c)) }

// inUseByRedis says why a setting stays.
const inUseByRedis = "the times of entries in Redis depend on it"

func refuseTTL(r *relay, name string, _ *config.Config) string {
	if name == "backend-ttl" && r.balancer.shared != nil {
		return inUseByRedis
	}
	return ""
}

// balancerSettings returns the settings of the balancer that may change.
func balancerSettings(c config.Config) balancer.Settings {
	return balancer.Settings{
		Policy: balancer.Policy(c.Policy), Affinity: c.Affinity, PlayersCreate: c.PlayersCreate, Outliers: c.OutlierDetection,
	}
}

func refuseAffinity(r *relay, name string, _ *config.Config) string {
	if name == "affinity" && r.balancer.shared != nil {
		return inUseByRedis
	}
	return ""
}

// shardLimits returns the limits of the shards.
func shardLimits(c config.Config) shard.Limits {
	return shard.Limits{
		MaxSessions: c.MaxSessions, MaxSessionsPerSource: c.MaxSessionsPerSource,
		MaxHalfOpen: c.MaxHandshakes, MaxHalfOpenPerSource: c.MaxHandshakesPerSource,
		MaxConnectsPerSource: c.MaxConnectsPerSource, MaxBitratePerSource: c.MaxBitratePerSource,
		Subnet:     limits.SourceLimits{Sessions: c.MaxSessionsPerSubnet, Connects: c.MaxConnectsPerSubnet, Bitrate: c.MaxBitratePerSubnet},
		Stream:     limits.StreamLimits{Players: c.MaxPlayersPerStream, Bitrate: c.MaxBitratePerStream},
		LimitGrace: c.LimitGrace, LimitBlock: c.LimitBlock,
		IdleTimeout: c.IdleTimeout, BackendSilence: c.BackendSilence,
		Shield: c.Shield, Migration: c.Migration,
	}
}

func applyLimits(ctx context.Context, r *relay, c *config.Config) {
	if err := r.group.SetLimits(ctx, shardLimits(*c)); err != nil {
		r.log.Warn("some sessions keep the former timeouts until they are next checked", "error", err)
	}
}

func refuseLimits(r *relay, name string, file *config.Config) string {
	if name != "max-sessions" {
		return ""
	}
	if err := r.group.CheckLimits(shardLimits(*file)); err != nil {
		return err.Error()
	}
	return ""
}

// levelOf returns a log level that can change.
func levelOf(c config.Config) *slog.LevelVar {
	level := new(slog.LevelVar)
	level.Set(c.LogLevel)
	return level
}
