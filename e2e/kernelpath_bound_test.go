//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"srtrelay/internal/need"
)

// boundDevice is the offset of bound_dev_if in struct bpf_sock (linux/bpf.h).
const boundDevice = 0

// boundCgroup makes a cgroup whose processes get sockets that are bound to a device, as
// `ip vrf exec` does.
func (k *kernelLab) boundCgroup(device string) (dir string) {
	k.t.Helper()
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
			dir = filepath.Join(root, fmt.Sprintf("srtrelay-bound-%d", os.Getpid()))
		}
	}
	if dir == "" {
		need.Skip(k.t, "no cgroup of version 2")
	}
	must(k.t, os.Mkdir(dir, 0o755))
	k.t.Cleanup(func() {
		if err := os.Remove(dir); err != nil { // when its relay has ended
			k.t.Error(err)
		}
	})
	var index int32
	must(k.t, k.Origin.Do(func() error {
		d, err := net.InterfaceByName(device)
		if err == nil {
			index = int32(d.Index)
		}
		return err
	}))
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "bind", Type: ebpf.CGroupSock, AttachType: ebpf.AttachCGroupInetSockCreate, License: "MIT",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R2, index), asm.StoreMem(asm.R1, boundDevice, asm.R2, asm.Word),
			asm.Mov.Imm(asm.R0, 1), asm.Return(),
		},
	})
	must(k.t, err)
	attached, err := link.AttachCgroup(link.CgroupOptions{Path: dir, Attach: ebpf.AttachCGroupInetSockCreate, Program: program})
	must(k.t, err)
	k.t.Cleanup(func() {
		_ = attached.Close()
		_ = program.Close()
	})
	return dir
}

// The relay's sockets are bound to a device, whose routes are others than those that the kernel
// gives without. The kernel path would send by the wrong one.
func TestKernelPathWithBoundSockets(t *testing.T) {
	t.Parallel()
	need.Tool(t, "sh")
	f := &kernelFlows{kernelLab: openKernelLab(t)}
	far := f.behindCallers("far", 80)
	f.link(f.Origin, f.Callers, "dead", "nowhere", 78)
	f.ip(f.Origin, "route del 10.80.0.0/24")
	f.ip(f.Origin, "route add 10.80.0.0/24 via 10.77.0.1 dev veth0 metric 2")
	f.ip(f.Origin, "route add 10.80.0.0/24 via 10.78.0.9 dev dead metric 1")
	f.l = f.backend(far, netip.MustParseAddr("10.80.0.2"), &f.seen)
	enter := "echo $$ > " + f.boundCgroup("veth0") + `/cgroup.procs && exec "$@"`
	f.r = newProcess(t, f.Origin, []string{"sh", "-c", enter, "sh", binary},
		"--kernel-path=auto", "--listen="+at(origin4, 0), "--api", at(origin4, 0), "--api-allow-remote", backendAt(f.l.Addr()))
	f.r.http = transportIn(f.Callers) // the API's socket is bound too
	t.Cleanup(f.r.http.CloseIdleConnections)
	f.r.awaitRelaying()
	f.flows = dialFlows(t, f.port(callers4), f.r, 4, 2000)
	runAll(f.flows)
	awaitSent(f.flows, 300)
	f.finish()
	f.r.awaitLog("kernel path off", func(logLine) bool { return true })
}
