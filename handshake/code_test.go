package handshake

import "testing"

// What speaks of the backend, and what of the caller.
func TestRejectionsOfBackends(t *testing.T) {
	ofBackend := map[Code]bool{
		1001: true, 1003: true, 1006: true, 1007: true,
		2402: true, 2500: true, 2502: true, 2503: true, 2504: true, 2507: true,
	}
	for c := Code(1000); c < 4000; c++ {
		if c.AllowsFailover() != ofBackend[c] {
			t.Errorf("%v: %v", c, c.AllowsFailover())
		}
	}
}
