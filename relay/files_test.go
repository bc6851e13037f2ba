package relay

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"srtrelay/api"
	"srtrelay/config"
)

// The bug: with 14 descriptors the relay started and refused everybody.
func TestDescriptorsAreCheckedAtStart(t *testing.T) {
	two := config.Config{Shards: 2, UpstreamPorts: 4, Listen: make([]netip.AddrPort, 1)}
	many := config.Config{Shards: 128, UpstreamPorts: 4, Listen: make([]netip.AddrPort, 2)}
	for _, c := range []struct {
		config    config.Config
		limit     int
		reserved  int
		err, warn string
	}{
		{two, 14, 0, "is 14, this configuration needs 34 at least and 48 for all", ""},
		{two, 33, 0, "is 33", ""},
		{two, 34, 0, "", "few descriptors"},
		{two, 64, 14, "", "wanted=304"},
		{two, 303, 14, "", "few descriptors"},
		{two, 304, 14, "", ""},
		{two, 0, 0, "", ""}, // unknown
		{many, 512, 0, "needs 540 at least", ""},
		{many, 1024, 242, "", "few descriptors"},
		{many, 1 << 20, 896, "", ""},
	} {
		var out bytes.Buffer
		p := planFiles(c.config, c.limit)
		err := p.check(slog.New(slog.NewTextHandler(&out, nil)))
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("limit %d: error %v, want %q", c.limit, err, c.err)
		}
		if (out.Len() == 0) != (c.warn == "") || !strings.Contains(out.String(), c.warn) {
			t.Errorf("limit %d: logged %q, want %q", c.limit, out.String(), c.warn)
		}
		if err == nil && p.reserved() != c.reserved {
			t.Errorf("limit %d: %d kept for upstream sockets, want %d", c.limit, p.reserved(), c.reserved)
		}
		if err == nil && c.limit > 0 && p.least+p.reserved()+p.apiShare() != c.limit+minAPIFiles {
			t.Errorf("limit %d: the shares do not add up: %+v", c.limit, p)
		}
	}
}

func TestConnectionsOfTheAPIFitTheLimit(t *testing.T) {
	for _, c := range []struct {
		limit, shards int
		state         string
		want          int
	}{
		{0, 2, "memory", api.MaxConnections}, // unknown
		{1 << 20, 2, "memory", api.MaxConnections},
		{1 << 20, 2, "redis", api.MaxConnections},
		{34, 2, "memory", minAPIFiles}, // the fewest descriptors with which it starts
		{34, 2, "redis", minAPIFiles / 2},
		{64, 2, "memory", 24},
		{64, 2, "redis", 12},
		{304, 2, "memory", api.MaxConnections},
		{304, 2, "redis", 132},
	} {
		p := planFiles(config.Config{Shards: c.shards, UpstreamPorts: 4, Listen: make([]netip.AddrPort, 1), State: c.state}, c.limit)
		if got := p.apiConnections(); got != c.want {
			t.Errorf("limit %d, --state %s: %d connections, want %d", c.limit, c.state, got, c.want)
		}
	}
}
