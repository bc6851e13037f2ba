package relay

import (
	"fmt"
	"log/slog"

	"srtrelay/config"
)

const (
	// ownFiles are the process's own: the standard streams, what the runtime
	// waits with, the API's listener, the session ledger, a log line's or a rules
	// file's, a look-up of a name, a profile.
	ownFiles = 12
	// leastProbes and leastAPI are how many probes and connections to the API,
	// Redis's among them, a relay cannot do without.
	leastProbes = 8
	leastAPI    = 8
	// goodAPI is how many connections to the API, probes and captures an
	// operator should not have to think of.
	goodAPI = 256
)

// filePlan is how the process's descriptors are shared out.
type filePlan struct {
	limit int // RLIMIT_NOFILE; 0 when unknown
	least int // without them the relay refuses callers from the start
	later int // upstream sockets that may be opened while it runs
}

// planFiles counts the descriptors that a configuration needs. A shard has a
// socket per listen address, one towards backends, and an eventfd; later up to
// --upstream-ports sockets towards backends of each address family.
func planFiles(c config.Config, limit int) filePlan {
	return filePlan{
		limit: limit,
		least: ownFiles + leastProbes + leastAPI + c.Shards*(len(c.Listen)+2),
		later: c.Shards * (2*c.UpstreamPorts - 1),
	}
}

// check refuses a limit with which the relay could not work, and warns of one
// that is tight.
func (p filePlan) check(log *slog.Logger) error {
	switch {
	case p.limit == 0:
	case p.limit < p.least:
		return fmt.Errorf("the limit of open files (RLIMIT_NOFILE, ulimit -n) is %d, this configuration needs %d at least "+
			"and %d for all its upstream sockets: raise it, or lower --shards", p.limit, p.least, p.least+p.later)
	case p.limit < p.least+p.later+goodAPI:
		log.Warn("few descriptors", "limit", p.limit, "wanted", p.least+p.later+goodAPI,
			"kept_for_upstream_sockets", p.reserved(), "left_for_api", p.apiShare(),
			"advice", "raise the limit of open files (ulimit -n, LimitNOFILE), or lower --shards or --upstream-ports")
	}
	return nil
}

// reserved is how many descriptors only upstream sockets may take: all that
// may be opened later, but no more than half of what the start leaves.
func (p filePlan) reserved() int {
	if p.limit == 0 {
		return 0
	}
	return min(p.later, (p.limit-p.least)/2)
}

// apiShare is how many descriptors are for connections to the API, captures and
// Redis together.
func (p filePlan) apiShare() int { return p.limit - p.least - p.reserved() + leastAPI }
