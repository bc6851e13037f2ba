package relay

import (
	"crypto/rand"
	"fmt"
	"log/slog"

	"srtrelay/config"
	"srtrelay/shard"
	"srtrelay/udp"
)

// openGroup opens the shards of the configuration, or takes over those of before.
func (r *relay) openGroup(before *predecessor) (*shard.Group, kernelPath, error) {
	c, p := r.config, r.process
	cpus := c.Pin.CPUs
	if c.Pin.Auto {
		usable, err := udp.UsableCPUs()
		if err != nil {
			return nil, kernelPath{}, fmt.Errorf("read the CPU affinity: %w", err)
		}
		// With more shards than CPUs the scheduler does better than a fixed
		// assignment.
		if c.Shards <= len(usable) {
			cpus = usable
		}
	}
	sockets := udp.Options{RecvBuf: c.Rcvbuf, SendBuf: c.Sndbuf, GRO: c.GRO, GSO: c.GSO}
	if c.SteerByCPU {
		if c.Shards > len(cpus) {
			return nil, kernelPath{}, fmt.Errorf("--steer cpu: every shard needs a CPU of its own, there are too few for %d", c.Shards)
		}
		sockets.Steer = cpus[:c.Shards]
	}
	cfg := shard.Config{
		Listen:        c.Listen,
		Shards:        c.Shards,
		CPUs:          cpus,
		Batch:         c.Batch,
		BatchWait:     c.BatchWait,
		Sockets:       sockets,
		UpstreamPorts: c.UpstreamPorts,
		Telemetry:     c.Telemetry,
		SharedSecrets: r.cookies.live,
		Relays:        r.passing.linkOf(),
		Registry:      r.registry,
		Resolver:      r.resolver,
		Rules:         r.rules.live,
		Events:        r.events,
		Log:           p.log,
		Supervisor:    p.supervisor,
	}
	cfg.Set(shardLimits(c))
	_, _ = rand.Read(cfg.Secret[:]) // never fails (crypto/rand, Go 1.24)
	kernel, err := openKernelPath(c, cfg.Places(), p, before)
	if err != nil {
		return nil, kernelPath{}, err
	}
	cfg.Kernel = kernel.path
	cfg.Adopt = before.socketsToAdopt()
	if before != nil {
		cfg.Origin = before.origin
	}
	group, err := shard.Open(cfg)
	if err != nil {
		kernel.close()
	}
	return group, kernel, err
}

// warnBuffers logs a warning if the kernel grants smaller socket buffers than asked.
func warnBuffers(group *shard.Group, c config.Config, log *slog.Logger) {
	recv, send := group.GrantedBuffers()
	if recv < c.Rcvbuf {
		log.Warn("receive buffer smaller than asked", "asked_bytes", c.Rcvbuf, "granted_bytes", recv,
			"advice", "raise net.core.rmem_max or grant CAP_NET_ADMIN")
	}
	if send < c.Sndbuf {
		log.Warn("send buffer smaller than asked", "asked_bytes", c.Sndbuf, "granted_bytes", send,
			"advice", "raise net.core.wmem_max or grant CAP_NET_ADMIN")
	}
}
