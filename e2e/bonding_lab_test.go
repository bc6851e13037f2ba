//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"srtrelay/bench/lab"
	"srtrelay/config"
	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// bondedPrograms builds the bonded caller and its origin beside the relay, once.
var bondedPrograms = sync.OnceValues(func() (string, error) {
	dir := filepath.Dir(binary)
	text, err := clocale.Command("../internal/bonded/build.sh", dir).CombinedOutput()
	if err != nil {
		return "", &buildError{string(text)}
	}
	return dir, nil
})

// bondingLatency repairs what is lost while a link is cut and another takes over. With 2 s a
// backup group of libsrt 1.5.1 loses data on a busy machine, also without a relay.
const bondingLatency = repairMS

// bondingLab is callers that reach a relay over several links of their own, and the host of
// the backends:
//
//	10.80.0.1 -- 10.80.0.2
//	10.81.0.1 -- 10.81.0.2  relay 10.78.0.1 -- 10.78.0.2 far
//	fd82::1   -- fd82::2
//
// All of it is the real libsrt, which Debian builds without bonding.
type bondingLab struct {
	*kernelLab
	far      *lab.Namespace
	programs string // their folder
}

// bondingLinks are the first numbers of the links' networks.
var bondingLinks = []int{80, 81, 82}

func openBondingLab(t *testing.T) *bondingLab {
	t.Helper()
	need.Root(t, "links between namespaces")
	need.Tools(t, "ip", "nft", "cc")
	cache, err := os.UserCacheDir()
	must(t, err)
	if _, err := os.Stat(filepath.Join(cache, "srtrelay", "libsrt-bonding", "version")); err != nil {
		need.Skip(t, "libsrt with bonding is not built; `make setup` builds it")
	}
	programs, err := bondedPrograms()
	must(t, err)
	l, err := lab.Open()
	must(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	n := &bondingLab{kernelLab: &kernelLab{l, t}, programs: programs}
	n.far = n.behind(n.Origin, "far", 78)
	for i, net := range bondingLinks {
		n.link(n.Callers, n.Origin, linkName(i), linkName(i), net)
	}
	return n
}

func linkName(i int) string { return fmt.Sprint("link", i) }

// relay starts a relay in front of these servers, with a listener on each link and the
// kernel path that SRTRELAY_TEST_KERNEL_PATH asks for.
func (n *bondingLab) relay(origins []*origin) *relay {
	n.t.Helper()
	args := []string{"--shards=4"}
	for i := range bondingLinks {
		_, remote := linkEnds(i)
		args = append(args, "--listen="+at(remote, 0))
	}
	for _, o := range origins {
		args = append(args, backendAt(o.addr))
	}
	r := startRelayIn(n.t, n.Origin, args...)
	r.await("all backends", func(stats) bool { return len(r.log("backend alive")) == len(origins) })
	return r
}

// carried checks that the kernel has carried media if it should.
func (n *bondingLab) carried(r *relay) {
	n.t.Helper()
	if os.Getenv("SRTRELAY_TEST_KERNEL_PATH") == config.KernelPathRequire {
		r.await("datagrams in the kernel", func(st stats) bool {
			return st["kernel_path_to_backend"] > 0 && st["kernel_path_to_caller"] > 0
		})
	}
}

// linkEnds are the addresses of a link's two ends. The last link has IPv6.
func linkEnds(i int) (local, remote netip.Addr) {
	form := "10.%d.0.%d"
	if i == len(bondingLinks)-1 {
		form = "fd%d::%d"
	}
	return netip.MustParseAddr(fmt.Sprintf(form, bondingLinks[i], 1)), netip.MustParseAddr(fmt.Sprintf(form, bondingLinks[i], 2))
}

// onFar begins a command on the backends' host.
func (n *bondingLab) onFar() []string {
	return []string{need.Tool(n.t, "ip"), "netns", "exec", n.far.Name}
}

// origin starts a server with bonding.
func (n *bondingLab) origin(flags ...string) *origin {
	n.t.Helper()
	flags = append(slices.Clone(flags), "-l", bondingLatency)
	return runOrigin(n.t, n.onFar(), filepath.Join(n.programs, "bonded-origin"), farAddr.String(), 0, flags...)
}

// origins starts servers that accept groups.
func (n *bondingLab) origins(count int, flags ...string) (all []*origin) {
	n.t.Helper()
	for range count {
		all = append(all, n.origin(append(slices.Clone(flags), "-g")...))
	}
	return all
}

// lossy puts a Link on the callers' host in front of a link.
func (n *bondingLab) lossy(i int, target netip.AddrPort) *srttest.Link {
	n.t.Helper()
	local, _ := linkEnds(i)
	l, err := srttest.NewLink(srttest.LinkConfig{Listen: netip.AddrPortFrom(local, 0), Target: target, Within: n.Callers.Do})
	must(n.t, err)
	n.t.Cleanup(func() { _ = l.Close() })
	return l
}

// bonded is a caller that is a bonding group.
type bonded struct {
	*program
	t       *testing.T
	members int
}

// ways are the first members' local and remote addresses.
func (n *bondingLab) ways(r *relay, members int) (ways []string) {
	for i := range members {
		local, _ := linkEnds(i)
		ways = append(ways, at(local, 0)+","+r.all[i].String())
	}
	return ways
}

// bonded starts a group, and does not wait for it.
func (n *bondingLab) bonded(role, resource string, ways []string, flags ...string) *bonded {
	n.t.Helper()
	mode := map[string]string{"publish": "publish", "play": "request"}[role]
	args := slices.Concat([]string{filepath.Join(n.programs, "bonded"), "-l", bondingLatency, "-s", "#!::r=" + resource + ",m=" + mode},
		flags, []string{role}, ways)
	return &bonded{n.program(n.Callers, args...), n.t, len(ways)}
}

// says are what the program has said of a member so far.
func (b *bonded) says(member int) (said []string) {
	for line := range strings.Lines(string(b.stderr.bytes())) {
		if about, what, found := strings.Cut(strings.TrimSpace(line), " "); found && about == fmt.Sprintf("member=%d", member) {
			said = append(said, what)
		}
	}
	return said
}

// connected tells how often a member has been connected.
func (b *bonded) connected(member int) (times int) {
	up := false
	for _, what := range b.says(member) {
		now := what == "state=running" || what == "state=idle"
		if now && !up {
			times++
		}
		up = now
	}
	return times
}

func (b *bonded) awaitConnected(member, times int) {
	b.t.Helper()
	if !b.stderr.await(patience, func([]byte) bool { return b.connected(member) >= times }) {
		b.t.Fatalf("member %d was not connected %d times:\n%s", member, times, b.stderr.bytes())
	}
}

func (b *bonded) awaitAll() {
	b.t.Helper()
	for i := range b.members {
		b.awaitConnected(i, 1)
	}
}

// awaitRejected waits until a member has been rejected for a reason of libsrt.
func (b *bonded) awaitRejected(member, reason int) {
	b.t.Helper()
	want := fmt.Sprintf("rejected=%d", reason)
	if !b.stderr.await(patience, func([]byte) bool { return slices.Contains(b.says(member), want) }) {
		b.t.Fatalf("member %d was not %s:\n%s", member, want, b.stderr.bytes())
	}
}

// cut drops all that leaves or enters the callers' ends of these links, and of no others.
// Nobody is told: a router between has lost its power.
func (n *bondingLab) cut(links ...int) {
	n.t.Helper()
	var chains strings.Builder
	for _, i := range links {
		for _, hook := range []string{"ingress", "egress"} {
			fmt.Fprintf(&chains, "chain %s%d { type filter hook %[1]s device %[3]s priority 0; policy drop; }\n", hook, i, linkName(i))
		}
	}
	n.nft(n.Callers, "netdev", chains.String())
}

// nft replaces the rules of a family in a namespace.
func (n *bondingLab) nft(at *lab.Namespace, family, chains string) {
	n.t.Helper()
	file := filepath.Join(n.t.TempDir(), "rules.nft")
	text := fmt.Sprintf("table %s bonding {}\ndelete table %[1]s bonding\ntable %[1]s bonding {\n%s\n}\n", family, chains)
	must(n.t, os.WriteFile(file, []byte(text), 0o600))
	n.run(at, "nft", "-f", file)
}
