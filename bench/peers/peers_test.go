//go:build linux

package peers

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"srtrelay/bench/lab"
	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
)

var backends = []netip.AddrPort{
	netip.MustParseAddrPort("10.77.0.2:10001"), netip.MustParseAddrPort("10.77.0.2:10002"), netip.MustParseAddrPort("10.77.0.2:10003"),
}

func needPeers(t *testing.T, tools ...string) {
	t.Helper()
	need.Root(t, "a network namespace")
	need.Tools(t, tools...)
}

// The real program must take the configuration, with all backends in it.
func TestNginxTakesItsConfiguration(t *testing.T) {
	needPeers(t, "nginx")
	dir := t.TempDir()
	c := nginxConfig(Site{Dir: dir, Backends: backends, Sessions: 1000})
	c.Listen = "127.0.0.1:20080"
	text, err := WriteNginx(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range backends {
		if !strings.Contains(text, "server "+b.String()) {
			t.Errorf("%s is missing", b)
		}
	}
	out, err := clocale.Command("nginx", "-t", "-p", dir, "-c", filepath.Join(dir, "nginx.conf")).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if strings.Contains(string(out), "warn") {
		t.Errorf("nginx warns: %s", out)
	}
}

func TestNFTTakesItsRules(t *testing.T) {
	needPeers(t, "nft", "ip")
	l, err := lab.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Origin.Do(func() error { return nftCommand(NFTRules(backends), "-c") }); err != nil {
		t.Error(err)
	}
}

// Peers that are started must come up at their address and leave nothing
// behind, time after time.
func TestPeersComeAndGo(t *testing.T) {
	needPeers(t, "nginx", "nft", "ip")
	l, err := lab.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, p := range []Peer{Direct(), Nginx(), NFT()} {
		for range 2 {
			r, err := p.Start(Site{Origin: l.Origin, Backends: backends, Exposed: backends, Dir: t.TempDir(), Sessions: 10})
			if err != nil {
				t.Fatalf("%s: %v", p.Name(), err)
			}
			if len(r.Targets) == 0 {
				t.Errorf("%s: no target", p.Name())
			}
			if err := r.Stop(); err != nil {
				t.Errorf("%s: %v", p.Name(), err)
			}
			for _, pid := range r.PIDs {
				if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && strings.HasPrefix(string(text), "nginx") {
					t.Errorf("%s: process %d is still there", p.Name(), pid)
				}
			}
		}
	}
}

// The parameters that a relay needs are set while it runs, and only then.
func TestSysctlsAreRestored(t *testing.T) {
	needPeers(t, "ip")
	l, err := lab.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	values := KernelPathAccept("").Sysctls
	before := map[string]string{}
	for name := range values {
		before[name] = l.Origin.Sysctl(name)
	}
	undo, err := setSysctls(l.Origin, values)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range values {
		if got := l.Origin.Sysctl(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	for name, want := range before {
		if got := l.Origin.Sysctl(name); got != want {
			t.Errorf("afterwards %s is %q, want %q", name, got, want)
		}
	}
	values["net.ipv4.conf.veth9.accept_local"] = "1"
	if _, err := setSysctls(l.Origin, values); err == nil {
		t.Error("a device that is not there was accepted")
	}
	for name, want := range before {
		if got := l.Origin.Sysctl(name); got != want {
			t.Errorf("after the failure %s is %q, want %q", name, got, want)
		}
	}
}
