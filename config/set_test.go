package config

import "testing"

func TestRuntimePaths(t *testing.T) {
	for _, c := range []struct{ args, runtime, ledger, socket string }{
		{"", "", "", ""},
		{"", "/run/srtrelay", "/run/srtrelay/session-ledger", "/run/srtrelay/takeover.sock"},
		{"", "/run/srtrelay:/run/other", "/run/srtrelay/session-ledger", "/run/srtrelay/takeover.sock"},
		{"", "srtrelay", "", ""},
		{"--session-ledger off --takeover-socket off", "/run/srtrelay", "", ""},
		{"--session-ledger /dev/shm//relay", "/run/srtrelay", "/dev/shm/relay", "/run/srtrelay/takeover.sock"},
		{"--session-ledger /dev/shm/relay", "", "/dev/shm/relay", ""},
		{"--takeover-socket /run//relay", "", "", "/run/relay"},
	} {
		got := mustLoad(t, source{args: c.args, env: map[string]string{"RUNTIME_DIRECTORY": c.runtime}})
		if got.SessionLedger != c.ledger || got.TakeOverSocket != c.socket {
			t.Errorf("%q with RUNTIME_DIRECTORY=%q: %q and %q, want %q and %q",
				c.args, c.runtime, got.SessionLedger, got.TakeOverSocket, c.ledger, c.socket)
		}
	}
}
