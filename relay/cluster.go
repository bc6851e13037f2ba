package relay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"os"
	"strconv"
	"time"

	"srtrelay/api"
	"srtrelay/api/answer"
	"srtrelay/backend"
	"srtrelay/config"
	"srtrelay/observe/cluster"
	"srtrelay/relay/overload"
)

// Drain implements api.Orders.
func (c selectedBalancer) Drain(ctx context.Context, id backend.ID, draining bool) (known bool, shared answer.Sharing) {
	if c.shared == nil {
		return c.registry.SetDraining(id, draining), answer.SharedNot
	}
	known, now := c.shared.OrderDrain(ctx, id, draining)
	return known, sharing(now)
}

// Weight implements api.Orders.
func (c selectedBalancer) Weight(ctx context.Context, id backend.ID, weight int) (known bool, shared answer.Sharing) {
	if c.shared == nil {
		return c.registry.OrderWeight(id, weight), answer.SharedNot
	}
	known, now := c.shared.OrderWeight(ctx, id, weight)
	return known, sharing(now)
}

func sharing(now bool) answer.Sharing {
	if now {
		return answer.SharedNow
	}
	return answer.SharedPending
}

// clusterView is the view of all relays for the API: not a nil *cluster.View for a relay
// that shares no state.
func (r *relay) clusterView() api.Cluster {
	if r.cluster == nil {
		return nil
	}
	return r.cluster
}

// reportToCluster writes this relay's reports and reads those of the others until ctx ends.
func (r *relay) reportToCluster(ctx context.Context) {
	began, place := time.Now(), r.place()
	r.cluster.Run(ctx, func(ctx context.Context) (cluster.Report, error) {
		all, err := r.watch.Streams(ctx, answer.StreamQuery{Sort: answer.SortKey, Limit: math.MaxInt})
		if err != nil {
			return cluster.Report{}, fmt.Errorf("report the streams: %w", err)
		}
		c := r.reloads.current.Load()
		p := cluster.Report{
			Info: cluster.Info{
				Name: nameOf(*c), Version: r.version, API: r.apiURL(c), Forward: r.passing.address(), Place: place, UptimeSeconds: time.Since(began).Seconds(),
				Shards: c.Shards, Draining: r.state.Draining(),
			},
			List: make([]cluster.Stream, 0, len(all.Streams)),
		}
		if step := r.overload.Overload().Step; step != overload.StepNone.String() {
			p.Overload = step
		}
		for i := range all.Streams {
			p.Add(reportOf(&all.Streams[i], time.Now()))
		}
		return p, nil
	})
}

// reportOf returns a stream as it is reported.
func reportOf(s *answer.Stream, now time.Time) cluster.Stream {
	return cluster.Stream{
		Key: s.Key, Backend: s.Backend.ID, Address: s.Backend.Address,
		Sessions: uint32(s.Sessions), Publishers: uint32(s.Publishers), Players: uint32(s.Players),
		In: uint64(max(s.BitrateIn, 0)), Out: uint64(max(s.BitrateOut, 0)), Age: now.Sub(s.Since),
	}
}

// apiURL returns the URL of the API for other hosts, "" if they cannot reach it.
func (r *relay) apiURL(c *config.Config) string {
	at := r.server.addr()
	if at.Addr().IsLoopback() {
		return ""
	}
	host := at.Addr().String()
	if at.Addr().IsUnspecified() {
		if host, _ = os.Hostname(); len(c.APIHosts) > 0 {
			host = c.APIHosts[0]
		}
	}
	scheme := "http://"
	if r.certificate != nil {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, strconv.Itoa(int(at.Port())))
}

// place returns a text that only a relay that is started again in this one's place has too;
// see cluster.Info.
func (r *relay) place() string {
	host, _ := os.Hostname()
	namespace, _ := os.Readlink("/proc/self/ns/net") // "" where there is none
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %v %v", host, namespace, r.group.Addrs(), r.server.addr()))
	return hex.EncodeToString(sum[:8])
}
