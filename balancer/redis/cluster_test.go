package redis

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"srtrelay/internal/freeaddr"
)

// startNodes runs a cluster of n masters with a replica each, whose failover
// takes a second or two.
func startNodes(t *testing.T, n int) (masters, replicas []*server) {
	t.Helper()
	all := make([]*server, 2*n)
	for i := range all {
		// The cluster's bus has a port of its own, 10,000 above by default.
		bus := strconv.Itoa(int(freeaddr.New().Port()))
		all[i] = startRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "500",
			"--cluster-port", bus, "--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0")
	}
	ctx := t.Context()
	for i, s := range all[1:] {
		host, port, _ := net.SplitHostPort(all[0].addr)
		must(t, s.Do(ctx, "cluster", "meet", host, port, all[0].args[5]).Err())
		_ = i
	}
	masters, replicas = all[:n], all[n:]
	for i, s := range masters {
		must(t, s.ClusterAddSlotsRange(ctx, i*16384/n, (i+1)*16384/n-1).Err())
	}
	knows := func(s *server, count string, want int) bool {
		return strings.Contains(s.ClusterInfo(ctx).Val(), count+":"+strconv.Itoa(want)+"\r\n")
	}
	for _, s := range all {
		until(t, "the nodes to have met", func() bool { return knows(s, "cluster_known_nodes", 2*n) })
	}
	for i, s := range replicas {
		id := masters[i].ClusterMyID(ctx).Val()
		until(t, "a replica to be one", func() bool { return s.ClusterReplicate(ctx, id).Err() == nil })
	}
	for i, s := range all {
		until(t, "the cluster to be whole", func() bool { return strings.Contains(s.ClusterInfo(ctx).Val(), "cluster_state:ok") })
		if i >= n {
			until(t, "the replica to follow", func() bool { return strings.Contains(s.Info(ctx, "replication").Val(), "master_link_status:up") })
		}
	}
	return masters, replicas
}

// whole reports whether a node finds the cluster to serve all slots.
func (s *server) whole() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	info := s.ClusterInfo(ctx).Val()
	return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_fail:0\r\n") &&
		strings.Contains(info, "cluster_slots_pfail:0\r\n")
}

// A master of a cluster is killed: the relay uses the shared state again as soon
// as the cluster serves, not when its view of the cluster is a minute old.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	masters, replicas := startNodes(t, 3)
	var addrs []string
	for _, s := range masters {
		addrs = append(addrs, s.addr)
	}
	r := openWith(t, 3, Servers{Mode: "cluster", Addrs: addrs}).ready()
	before := map[string]string{}
	for i := range 30 {
		before[key(i)] = string(r.stream(key(i)).ID)
	}
	masters[0].kill()
	until(t, "the replica to take over", func() bool {
		return replicas[0].whole() && strings.Contains(replicas[0].Info(t.Context(), "replication").Val(), "role:master")
	})
	since := time.Now()
	r.inUseOn(t, "the shared state to be in use", func(i int) error {
		return r.client.Set(t.Context(), fmt.Sprintf("probe-%d", i), "x", time.Second).Err()
	})
	t.Logf("in use %v after the cluster served", time.Since(since).Round(time.Millisecond))
	for k, id := range before {
		if got := r.stream(k); string(got.ID) != id {
			t.Errorf("%s has moved from %s to %s", k, id, got.ID)
		}
	}
	if ok, _, detail := r.State(); !ok {
		t.Errorf("not in use: %s", detail)
	}
}

// inUseOn waits until the circuit is closed and keys of all slots can be
// written.
func (r *relay) inUseOn(t *testing.T, what string, write func(i int) error) {
	t.Helper()
	until(t, what, func() bool {
		if ok, _, _ := r.State(); !ok {
			return false
		}
		for i := range 50 {
			if write(i) != nil {
				return false
			}
		}
		return true
	})
}
