//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// translate adds rules of address translation to a namespace, by the chain they belong to.
func (k *kernelLab) translate(hook, rule string) {
	k.t.Helper()
	need.Tool(k.t, "nft")
	k.run(k.Origin, "nft", "add table ip translate")
	k.run(k.Origin, "nft", "add chain ip translate "+hook+" { type nat hook "+hook+" priority 0; }")
	k.run(k.Origin, "nft", "add rule ip translate "+hook+" "+rule)
}

// The address of a backend is translated on this host, as that of a Service of Kubernetes is, or
// that of the relay towards it. The kernel path would send past the translation.
func TestKernelPathBackendTranslated(t *testing.T) {
	t.Parallel()
	const service = "10.99.0.9"
	for name, c := range map[string]struct{ hook, rule, backend string }{
		"destination": {"output", "ip daddr " + service + " dnat to 10.78.0.2", service},
		"source":      {"postrouting", "ip daddr 10.78.0.2 snat to 10.78.0.9", "10.78.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &kernelFlows{kernelLab: openKernelLab(t)}
			n := f.behind(f.Origin, "veth", 78)
			f.ip(f.Origin, "addr add 10.78.0.9/24 dev veth")
			f.ip(f.Origin, "route add default via 10.78.0.2")
			f.translate(c.hook, c.rule)
			f.l = f.backend(n, netip.MustParseAddr("10.78.0.2"), &f.seen)
			backend := netip.AddrPortFrom(netip.MustParseAddr(c.backend), f.l.Addr().Port())
			f.r = f.relay(backendAt(backend))
			f.flows = dialFlows(t, f.port(callers4), f.r, 4, 2000)
			runAll(f.flows)
			awaitSent(f.flows, 300)
			f.r.await("all sessions in user space", func(st stats) bool { return st["kernel_path_sessions"] == 0 })
			f.finish()
			f.r.logged("a session stays in user space")
		})
	}
}

// Callers dial a port that is redirected to the relay's. A player sends no data packet that would
// show that its datagrams come past the program; what it gets must come from where it has dialled.
func TestKernelPathFrontTranslated(t *testing.T) {
	t.Parallel()
	const dialled = 10088
	k := openKernelLab(t)
	var l *srttest.Listener
	must(t, k.Origin.Do(func() (err error) {
		l, err = srttest.NewListener(srttest.ListenerConfig{Local: loopback, Mode: srttest.Source, Rate: 500})
		return err
	}))
	t.Cleanup(func() { _ = l.Close() })
	r := k.relay(backendAt(l.Addr()))
	k.translate("prerouting", fmt.Sprintf("udp dport %d redirect to :%d", dialled, r.addr.Port()))
	s, err := k.port(callers4).Dial(patiently(t), netip.AddrPortFrom(origin4, dialled), srttest.CallerOptions{
		Timeout: patience, StreamID: "#!::r=live/x,m=request",
		OnPacket: func(s *srttest.Session, b []byte) {
			if c := s.Counters(); c.Received%50 == 0 {
				_ = s.SendKeepalive()
			}
		},
	})
	must(t, err)
	await(t, s, "media", func() bool { return s.Counters().Received >= 1500 || s.Seen().Foreign > 0 })
	if c := s.Counters(); c.Lost+c.Duplicated+c.Stale+c.Reordered != 0 || s.Seen().Foreign != 0 {
		t.Errorf("%d datagrams from another address: %+v", s.Seen().Foreign, c)
	}
	r.await("the session in user space", func(st stats) bool { return st["kernel_path_sessions"] == 0 })
}
