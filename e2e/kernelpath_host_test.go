//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"srtrelay/bench/lab"
	"srtrelay/internal/need"
)

// localFlows makes flows to a backend at 127.0.0.1.
func localFlows(t *testing.T) *kernelFlows {
	t.Helper()
	f := &kernelFlows{kernelLab: openKernelLab(t)}
	f.l = f.backend(f.Origin, loopback.Addr(), &f.seen)
	return f
}

// Verdicts of a TCX program (linux/bpf.h).
const (
	tcxNext = -1
	tcxPass = 0
)

// foreign attaches a program of another owner to the ingress of the callers' device and
// to the egress of lo. detach takes it away.
func (k *kernelLab) foreign(verdict int32, anchor link.Anchor) (detach func()) {
	k.t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "foreign", Type: ebpf.SchedCLS, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()},
	})
	must(k.t, err)
	var links []link.Link
	detach = func() {
		for _, l := range links {
			_ = l.Close()
		}
		_ = p.Close()
	}
	k.t.Cleanup(detach)
	for device, kind := range map[string]ebpf.AttachType{"veth0": ebpf.AttachTCXIngress, "lo": ebpf.AttachTCXEgress} {
		must(k.t, k.Origin.Do(func() error {
			i, err := net.InterfaceByName(device)
			if err != nil {
				return err
			}
			l, err := link.AttachTCX(link.TCXOptions{Interface: i.Index, Program: p, Attach: kind, Anchor: anchor})
			links = append(links, l)
			return err
		}))
	}
	return detach
}

// Programs of others do what they please with what is not ours, before and behind us. One
// that accepts all before us hides what it accepts: the sessions go on in user space.
func TestKernelPathAmongForeignPrograms(t *testing.T) {
	t.Parallel()
	f := localFlows(t)
	behind := f.foreign(tcxPass, link.Tail())
	f.start(4)
	awaitSent(f.flows, 50)
	behind()
	before := f.foreign(tcxNext, link.Head())
	f.awaitReturn("flows behind a program that passes on")
	before()
	f.foreign(tcxPass, link.Head())
	f.r.await("all sessions in user space", func(st stats) bool { return st["kernel_path_sessions"] == 0 })
	awaitSent(f.flows, 50)
	f.finish()
	f.r.logged("a session stays in user space")
}

// The program is detached by hand. The sessions go on in user space until it is attached
// again.
func TestKernelPathDetachedByHand(t *testing.T) {
	t.Parallel()
	f := localFlows(t)
	f.start(4)
	detach(t, f.Origin, "veth0", ebpf.AttachTCXIngress)
	detach(t, f.Origin, "lo", ebpf.AttachTCXEgress)
	f.r.await("all sessions in user space", func(st stats) bool { return st["kernel_path_sessions"] == 0 })
	awaitSent(f.flows, 50)
	for _, device := range []string{"veth0", "lo"} {
		f.r.logged("detached from " + device)
		f.r.logged("attached to " + device)
	}
	f.awaitReturn("flows by the program that is attached again")
	f.finish()
}

// detach takes all programs off a device.
func detach(t *testing.T, at *lab.Namespace, device string, kind ebpf.AttachType) {
	t.Helper()
	must(t, at.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		found, err := link.QueryPrograms(link.QueryOptions{Target: i.Index, Attach: kind})
		if err != nil {
			return err
		}
		for _, p := range found.Programs {
			id, _ := p.LinkID()
			l, err := link.NewFromID(id)
			if err != nil {
				return err
			}
			if err := l.Detach(); err != nil {
				return err
			}
			if err := l.Close(); err != nil {
				return err
			}
		}
		return nil
	}))
}

// Two relays of one host each carry their own sessions; one that stops disturbs nothing of
// the other.
func TestKernelPathOfTwoRelays(t *testing.T) {
	t.Parallel()
	first := localFlows(t)
	second := &kernelFlows{kernelLab: first.kernelLab}
	second.l = second.backend(second.Origin, loopback.Addr(), &second.seen)
	first.start(4)
	second.start(4)
	first.awaitReturn("flows of the first relay beside those of the second one")
	first.finish()
	first.r.finish()
	second.awaitReturn("flows of the second relay alone")
	second.finish()
}

// A firewall lets callers reach the relay and nothing else of the host, and follows all
// connections: the backends' ports are closed to the outside.
func TestKernelPathBehindFirewall(t *testing.T) {
	t.Parallel()
	need.Tool(t, "nft")
	f := &kernelFlows{kernelLab: openKernelLab(t)}
	f.l = f.backend(f.Origin, origin4, &f.seen)
	f.r = f.relay(backendAt(f.l.Addr()))
	f.run(f.Origin, "nft", "add table inet guard")
	f.run(f.Origin, "nft", "add chain inet guard input { type filter hook input priority 0; policy drop; }")
	for _, rule := range []string{
		"iif lo accept", "ct state established accept", "icmpv6 type != echo-request accept",
		"udp dport " + fmt.Sprint(f.r.addr.Port()) + " ct state new accept",
	} {
		f.run(f.Origin, "nft", "add rule inet guard input "+rule)
	}
	f.flows = dialFlows(t, f.port(callers4), f.r, 4, 2000)
	runAll(f.flows)
	awaitInKernel(f.r, f.flows)
	f.awaitReturn("flows through the firewall")
	f.finish()
}

// More sessions than the path has places for: the others stay in user space.
func TestKernelPathFull(t *testing.T) {
	t.Parallel()
	// All shards together have 131,072 places; the callers' port is of one of 64.
	const places, sessions = 2048, 2100
	f := localFlows(t)
	f.r = f.relay(backendAt(f.l.Addr()), "--shards=64", "--max-sessions=1000000", "--max-handshakes=4096",
		"--max-handshakes-per-source=4096", "--max-sessions-per-source=1000000")
	f.flows = dialFlows(t, f.port(callers4), f.r, sessions, 4000)
	runAll(f.flows)
	awaitSent(f.flows, 2)
	st := f.r.stats()
	if st["kernel_path_sessions"] != places || st["kernel_path_not_entered"] != sessions-places {
		t.Errorf("%d sessions of %d in the kernel path, %d not, want %d places",
			st["kernel_path_sessions"], sessions, st["kernel_path_not_entered"], places)
	}
	f.finish()
	f.r.logged("a session stays in user space")
}

// Callers that are gone end by the idle timeout, those whose datagrams pass in the kernel
// do not.
func TestKernelPathIdleTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	f := localFlows(t)
	f.start(4, "--idle-timeout="+timeout.String())
	gone := f.flows[3]
	gone.stop()
	f.r.awaitLog("session ended", func(l logLine) bool {
		return l.text("cause") == "idle" && l.number("caller_id") == int64(gone.s.ID())
	})
	f.flows = f.flows[:3]
	awaitSent(f.flows, uint64(2*timeout.Seconds()*500)) // at the pace of the flows
	stopAll(f.flows)
	checkAll(f.flows, f.l)
	if ended := f.r.log("session ended"); len(ended) != 1 {
		t.Errorf("%d sessions ended: %v", len(ended), ended)
	}
}

// A backend in another namespace dies. What its host answers reaches the relay though the
// datagrams have passed it in the kernel, and ends the sessions.
func TestKernelPathBackendDies(t *testing.T) {
	t.Parallel()
	f := &kernelFlows{kernelLab: openKernelLab(t)}
	n := f.behind(f.Origin, "veth", 78)
	f.l = f.backend(n, netip.MustParseAddr("10.78.0.2"), &f.seen)
	f.start(4, "--backend-silence=60s", "--idle-timeout=60s")
	f.l.Kill()
	for _, one := range f.flows {
		select {
		case <-one.s.Done():
		case <-time.After(patience):
			t.Fatalf("a caller was not told that its backend died\n%s", f.r.tail())
		}
		close(one.stopped)
		one.sending.Wait()
	}
	if causes := endings(f.r, len(f.flows)); causes["backend lost"] != len(f.flows) {
		t.Errorf("sessions ended by %v", causes)
	}
}
