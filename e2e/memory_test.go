package e2e

import (
	"testing"

	"srtrelay/internal/srttest"
)

// The bug: 128 shards took 2.4 GB and 16 s to start, all of it the memory of
// batches into which nothing had come yet.
func TestManyIdleShardsTakeLittleMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	r := startRelay(t, "--shards", "128", backendAt(startEcho(t).Addr()))
	const most = 350 << 10
	if n := r.residentKiB(); n > most {
		t.Errorf("%d KiB for 128 idle shards, at most %d wanted", n, most)
	}
	// A shard that works takes what its own traffic needs, and no other more.
	for range 8 {
		echo(t, mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/one,m=publish"}), 20)
	}
	if n := r.residentKiB(); n > most {
		t.Errorf("%d KiB with 8 sessions, at most %d wanted", n, most)
	}
}
