package redis

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"

	"srtrelay/backend"
)

// Who reads an entry routes to the address to which its writer does.
func TestRecordsReadBack(t *testing.T) {
	many := slices.Repeat([]string{"tcp://0.0.0.0:1"}, 32)
	many[31] = "10080"
	for _, c := range []struct {
		ip   string
		srt  []string
		addr string // which the writer took
		// What is written.
		wantIP  string
		wantSRT []string
	}{
		{"10.0.0.5", []string{"udp://0.0.0.0:10080"}, "10.0.0.5:10080", "10.0.0.5", []string{"udp://0.0.0.0:10080"}},
		{"", []string{":10080"}, "10.0.0.5:10080", "10.0.0.5", []string{":10080"}},
		{"fe80::1", []string{"udp://0.0.0.0:10080"}, "10.0.0.5:10080", "10.0.0.5", []string{"10080"}},
		{"fe80::1", []string{"udp://[::]:10080"}, "[fd00::5]:10080", "fd00::5", []string{"10080"}},
		{"224.0.0.1", []string{"udp://0.0.0.0:10080", "10081"}, "10.0.0.5:10080", "10.0.0.5", []string{"10080", "10081"}},
		{"10.0.0.5", []string{"tcp://0.0.0.0:1", "udp://0.0.0.0:10080"}, "10.0.0.5:10080", "10.0.0.5", []string{"tcp://0.0.0.0:1", "udp://0.0.0.0:10080"}},
		{"127.0.0.1", []string{"10080"}, "10.0.0.5:10080", "10.0.0.5", []string{"10080"}},
		{"127.0.0.1", []string{"127.0.0.1:10080", "10.0.0.5:10081"}, "10.0.0.5:10081", "10.0.0.5", []string{"10081", "10.0.0.5:10081"}},
		{"224.0.0.1", many, "10.0.0.5:10080", "10.0.0.5", append([]string{"10080"}, many[1:]...)},
	} {
		g := &backend.Registration{IP: c.ip, Server: "vid-one", Service: "k3j9x2ab", PID: "4321", SRT: slices.Clone(c.srt)}
		b := backend.Backend{ID: g.ID(), Source: backend.SourceRegistered, Addr: netip.MustParseAddrPort(c.addr), Registration: g}
		text, err := json.Marshal(recordOf(b, time.Now()))
		must(t, err)
		r, err := parseRecord(string(text))
		must(t, err)
		if r.IP != c.wantIP || !slices.Equal(r.SRT, c.wantSRT) {
			t.Errorf("%s, %q: written as %s, %q", c.ip, c.srt, r.IP, r.SRT)
		}
		if got, err := r.backend(time.Now(), false); err != nil || got.Addr != b.Addr || got.ID != b.ID {
			t.Errorf("%s, %q: read as %v, %v, want %v", c.ip, c.srt, got.Addr, err, b.Addr)
		}
		if g.IP != c.ip || !slices.Equal(g.SRT, c.srt) {
			t.Errorf("%s, %q: the registration is now %s, %q", c.ip, c.srt, g.IP, g.SRT)
		}
	}
}
