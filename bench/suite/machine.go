//go:build linux

package suite

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"srtrelay/bench/peers"
	"srtrelay/bench/report"
	"srtrelay/internal/clocale"
)

// sysctls are the kernel parameters that the figures depend on.
var sysctls = []string{
	"net.core.rmem_max", "net.core.wmem_max", "net.core.rmem_default", "net.core.netdev_max_backlog",
	"net.core.optmem_max", "net.netfilter.nf_conntrack_max",
}

// checkTools returns an error if a tool is missing.
func checkTools(o Options) error {
	if os.Geteuid() != 0 {
		return errors.New("the bench needs root, for network namespaces; `bench load` alone does not")
	}
	tools := map[string]string{"nginx": "nginx", "nft": "nft"}
	for _, name := range o.Peers {
		if tool := tools[name]; tool != "" {
			if _, err := exec.LookPath(tool); err != nil {
				return fmt.Errorf("peer %s: the program %s is not installed; `make bench` installs it, -peers leaves it out", name, tool)
			}
		}
	}
	if slices.ContainsFunc(o.Peers, func(name string) bool { return name == relay || strings.HasPrefix(name, "kernel-path") }) {
		if _, err := os.Stat(o.Binary); err != nil {
			return fmt.Errorf("-relay: %w; `make build` builds it", err)
		}
		for _, v := range o.Variants {
			if _, err := os.Stat(v.Binary); err != nil {
				return fmt.Errorf("-relay-binary: %s: %w", v.Label, err)
			}
		}
	}
	return nil
}

func machine(b *Bench) report.Machine {
	m := report.Machine{
		CPU: procField("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Kernel: kernel(), Go: runtime.Version(),
		Commit: commit(), Args: strings.Join(os.Args[1:], " "), LoadCPUs: b.opts.LoadCPUs, PeerCPUs: b.opts.PeerCPUs,
		Clock: "wall time less idle, iowait and steal of /proc/stat", Sysctls: map[string]string{},
	}
	if kib, err := strconv.Atoi(strings.TrimSuffix(procField("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		m.MemoryMiB = kib / 1024
	}
	if slices.Contains(b.opts.Peers, "nginx") {
		m.Nginx = peers.NginxVersion()
	}
	for _, name := range sysctls {
		if v := b.lab.Origin.Sysctl(name); v != "" {
			m.Sysctls[name] = v
		}
	}
	return m
}

// procField is the value of the first line "name : value".
func procField(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
}

// commit returns git's description of the tree in which the bench runs, if it is one.
func commit() string {
	out, err := clocale.Command("git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
