package relay

import (
	"fmt"
	"log/slog"

	"srtrelay/api"
	"srtrelay/config"
)

const (
	// baseFiles are for the process itself: standard streams, the runtime's poller,
	// the API's listener, the session ledger, the rules file, the event log, a name
	// look-up, a profile.
	baseFiles = 12
	// minProbeFiles and minAPIFiles are the fewest that a relay can do with for probes,
	// and for connections of the API and to Redis.
	minProbeFiles = 8
	minAPIFiles   = 8
)

// filePlan divides the process's file descriptors.
type filePlan struct {
	limit int // RLIMIT_NOFILE; 0 when unknown
	least int // with fewer the relay would refuse callers from the start
	later int // upstream sockets that may be opened while it runs
	redis bool
}

// planFiles counts the descriptors of a configuration. A shard has a socket per listen
// address, one upstream socket and an eventfd, and later up to --upstream-ports
// upstream sockets of each address family.
func planFiles(c config.Config, limit int) filePlan {
	others := 0 // sockets for other relays
	if c.ClusterListen.IsValid() {
		others = 1
	}
	return filePlan{
		limit: limit,
		least: others + baseFiles + minProbeFiles + minAPIFiles + c.Shards*(len(c.Listen)+2),
		later: c.Shards * (2*c.UpstreamPorts - 1),
		redis: c.State == "redis",
	}
}

// check refuses a limit that is too low for the relay to work, and warns of one that is
// tight.
func (p filePlan) check(log *slog.Logger) error {
	switch {
	case p.limit == 0:
	case p.limit < p.least:
		return fmt.Errorf("the limit of open files (RLIMIT_NOFILE, ulimit -n) is %d, this configuration needs %d at least "+
			"and %d for all its upstream sockets: raise it, or lower --shards", p.limit, p.least, p.least+p.later)
	case p.limit < p.least+p.later+api.MaxConnections:
		log.Warn("few descriptors", "limit", p.limit, "wanted", p.least+p.later+api.MaxConnections,
			"kept_for_upstream_sockets", p.reserved(), "left_for_api", p.apiShare(),
			"advice", "raise the limit of open files (ulimit -n, LimitNOFILE), or lower --shards or --upstream-ports")
	}
	return nil
}

// reserved returns how many descriptors are kept for upstream sockets: for all that may
// be opened later, but at most half of those left after the start.
func (p filePlan) reserved() int {
	if p.limit == 0 {
		return 0
	}
	return min(p.later, (p.limit-p.least)/2)
}

// apiShare returns how many descriptors are left for the connections of the API and to
// Redis.
func (p filePlan) apiShare() int { return p.limit - p.least - p.reserved() + minAPIFiles }

// apiConnections returns how many connections the API may have: as many as it needs,
// but no more than apiShare, of which half is for Redis if that is in use.
func (p filePlan) apiConnections() int {
	share := p.apiShare()
	switch {
	case p.limit == 0:
		return api.MaxConnections
	case p.redis:
		share /= 2
	}
	return min(share, api.MaxConnections)
}
