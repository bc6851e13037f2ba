//go:build linux

package e2e

import (
	"strings"
	"testing"

	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
	"srtrelay/shard/kernelpath"
)

// Without the rights for it, or one of them, there is no kernel path: auto relays in user
// space and says why in one line, require does not start.
func TestKernelPathWithoutRights(t *testing.T) {
	t.Parallel()
	need.Root(t, "giving up rights")
	setpriv := need.Tool(t, "setpriv")
	const why = "the kernel path is not available: it takes CAP_BPF and CAP_NET_ADMIN"
	for name, rights := range map[string]string{
		"none": "-all", "no CAP_BPF": "-all,+net_admin", "no CAP_NET_ADMIN": "-all,+bpf",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			by := []string{setpriv, "--bounding-set=" + rights, binary}
			l := startEcho(t)
			refuseToStartBy(t, by, "--kernel-path require: "+why,
				"--kernel-path=require", "--listen=127.0.0.1:0", "--api=127.0.0.1:0", backendAt(l.Addr()))
			r := startRelayBy(t, nil, by, "--kernel-path=auto", backendAt(l.Addr()))
			echo(t, mustDial(t, r.addr, srttest.CallerOptions{}), 10)
			lines := r.log("kernel path off")
			if len(lines) != 1 || lines[0].text("level") != "INFO" || !strings.HasPrefix(lines[0].text("reason"), why) {
				t.Errorf("logged %v", lines)
			}
			st := counted(r, "10 datagrams forwarded", func(s stats) bool { return s["forwarded_to_backend"] == 10 })
			if st["kernel_path_to_backend"]+st["kernel_path_not_entered"] != 0 {
				t.Errorf("counted %v", st)
			}
		})
	}
}

// With the two rights alone there is one.
func TestKernelPathWithItsRights(t *testing.T) {
	t.Parallel()
	k := openKernelLab(t)
	var seen payloads
	l := k.backend(k.Origin, loopback.Addr(), &seen)
	by := []string{need.Tool(t, "setpriv"), "--bounding-set=-all,+bpf,+net_admin", binary}
	r := startRelayBy(t, k.Origin, by, "--kernel-path=require", "--listen="+at(origin4, 0), backendAt(l.Addr()))
	flows := dialFlows(t, k.port(callers4), r, 2, 1000)
	runAll(flows)
	awaitInKernel(r, flows)
	stopAll(flows)
	checkAll(flows, l)
}

// The hook at lo has space for the paths of 63 relays. The next relay relays in user space
// and says why in one line.
func TestKernelPathOfTooManyRelays(t *testing.T) {
	t.Parallel()
	k := openKernelLab(t)
	for range 63 {
		must(t, k.Origin.Do(func() error {
			p, err := kernelpath.Open(kernelpath.Config{Shards: 1, Places: 1})
			if err == nil {
				t.Cleanup(p.Close)
			}
			return err
		}))
	}
	var seen payloads
	l := k.backend(k.Origin, loopback.Addr(), &seen)
	r := startRelayIn(t, k.Origin, "--kernel-path=auto", "--listen="+at(origin4, 0), backendAt(l.Addr()))
	flows := dialFlows(t, k.port(callers4), r, 2, 1000)
	runAll(flows)
	counted(r, "datagrams forwarded", func(s stats) bool { return s["forwarded_to_backend"] > 100 })
	stopAll(flows)
	checkAll(flows, l)
	lines := r.log("kernel path off")
	if len(lines) != 1 || lines[0].text("level") != "WARN" || !strings.Contains(lines[0].text("reason"), "lo has 63 programs of others") {
		t.Errorf("logged %v", lines)
	}
}
