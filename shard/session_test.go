package shard

import (
	"testing"
	"unsafe"
)

// A hundred thousand sessions that hardly speak are what a relay of players
// holds most of. Each is to cost 1 KiB of memory in all, and what the balancer,
// the table, the wheel and the names of streams need is as much again as this.
// Whatever is wanted during the handshake only belongs into opening,
// what its caller may ask for again into the replay.
func TestIdleSessionsAreSmall(t *testing.T) {
	const budget = 300
	if n := unsafe.Sizeof(Session{}) + unsafe.Sizeof(side{}); n > budget {
		t.Errorf("a session and its side have %d bytes, want %d at most", n, budget)
	}
}
