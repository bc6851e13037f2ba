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
	const budget = 304
	if n := unsafe.Sizeof(session{}) + unsafe.Sizeof(coldState{}); n > budget {
		t.Errorf("a session and its side have %d bytes, want %d at most", n, budget)
	}
}

// What a datagram touches of its session is to be two cache lines from a
// caller and three from a backend; an allocation of a chunk begins at one.
func TestSessionsLieInCacheLines(t *testing.T) {
	const line = 64
	var ss session
	if n := unsafe.Sizeof(ss); n != 3*line {
		t.Errorf("a session has %d bytes, want %d", n, 3*line)
	}
	for name, at := range map[string]uintptr{
		"backend, a caller's datagrams": unsafe.Offsetof(ss.backend) - line,
		"toCaller, the rest":            unsafe.Offsetof(ss.toCaller) - 2*line,
	} {
		if at != 0 {
			t.Errorf("%s: the line does not begin there", name)
		}
	}
}
