package config

import "testing"

func TestSessionLedgerPath(t *testing.T) {
	for _, c := range []struct{ args, runtime, want string }{
		{"", "", ""},
		{"", "/run/srtrelay", "/run/srtrelay/session-ledger"},
		{"", "/run/srtrelay:/run/other", "/run/srtrelay/session-ledger"},
		{"", "srtrelay", ""},
		{"--session-ledger off", "/run/srtrelay", ""},
		{"--session-ledger /dev/shm//relay", "/run/srtrelay", "/dev/shm/relay"},
		{"--session-ledger /dev/shm/relay", "", "/dev/shm/relay"},
	} {
		got := mustLoad(t, source{args: c.args, env: map[string]string{"RUNTIME_DIRECTORY": c.runtime}})
		if got.SessionLedger != c.want {
			t.Errorf("%q with RUNTIME_DIRECTORY=%q: %q, want %q", c.args, c.runtime, got.SessionLedger, c.want)
		}
	}
}
