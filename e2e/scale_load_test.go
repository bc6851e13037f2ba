//go:build linux

package e2e

import (
	"fmt"
	"testing"
)

// Many sessions over eight shards: the kernel spreads the callers, and every
// shard relays, counts and frees its own.
func TestManySessionsOverEightShards(t *testing.T) {
	t.Parallel()
	const ports, perPort, shards = 200, 10, 8
	a, b := startMirror(t), startMirror(t)
	r := startRelay(t, backendAt(a.Addr()), backendAt(b.Addr()), "--shards", fmt.Sprint(shards))
	c := gather(t, r, ports, perPort)
	c.exchange(4, 1316)
	c.keepalive()
	c.checkClean(a, b)
	busy := 0
	for _, s := range r.shards() {
		if s.Counters["established"] > 0 && s.Counters["forwarded_to_caller"] > 0 {
			busy++
		}
	}
	// Of two hundred flows, all miss a shard once in fifty thousand million.
	if busy != shards {
		t.Errorf("%d of %d shards had sessions", busy, shards)
	}
	if n := r.openFDs(); n >= fdLimit {
		t.Errorf("%d files open, want fewer than %d", n, fdLimit)
	}
	c.shutDown(r)
	awaitLive(t, a, 0)
	awaitLive(t, b, 0)
}

// Two hundred busy sessions lose nothing and keep their order, however many
// shards there are and whether or not the kernel joins and cuts datagrams.
func TestLoadOverShards(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 2, 8, 32} {
		for _, offload := range []string{"auto", "off"} {
			t.Run(fmt.Sprintf("shards=%d/offload=%s", shards, offload), func(t *testing.T) {
				t.Parallel()
				a, b := startMirror(t), startMirror(t)
				a.Ack(true)
				b.Ack(true)
				r := startRelay(t, backendAt(a.Addr()), backendAt(b.Addr()),
					"--shards", fmt.Sprint(shards), "--gro", offload, "--gso", offload)
				c := gather(t, r, 20, 10)
				// Full packets in trains, and short ones between them, which
				// end a train early.
				for range 5 {
					c.exchange(8, 1456)
					c.exchange(2, 188)
				}
				c.checkClean(a, b)
				want := 200 * c.sent
				st := counted(r, "all datagrams counted", func(st stats) bool {
					return st["forwarded_to_backend"] >= want && st["forwarded_to_caller"] >= want
				})
				if got := st["kernel_drops"] + st["send_buffer_full"] + st["send_too_big"] + st["send_failed"]; got != 0 {
					t.Errorf("datagrams were lost on the relay's sockets: %v", st)
				}
			})
		}
	}
}

// Through two relays in a row: what the first one sends as superpackets
// reaches the second, and comes back, as trains of many sessions' datagrams.
func TestLoadThroughTwoRelays(t *testing.T) {
	t.Parallel()
	l := startMirror(t)
	inner := startRelay(t, backendAt(l.Addr()), "--shards", "1")
	outer := startRelay(t, backendAt(inner.addr), "--shards", "1")
	c := gather(t, outer, 4, 50)
	for range 5 {
		c.exchange(8, 1456)
		c.exchange(2, 188)
	}
	c.checkClean(l)
	c.shutDown(outer)
	awaitNothingLeft(inner)
}
