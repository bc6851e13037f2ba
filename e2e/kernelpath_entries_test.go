//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"srtrelay/internal/srttest"
)

// kernelEntries counts the entries of sessions in the relay's program.
func (r *relay) kernelEntries() (n int) {
	r.t.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", r.cmd.Process.Pid))
	must(r.t, err)
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // closed meanwhile
		}
		_, rest, found := strings.Cut(string(text), "map_id:")
		if !found {
			continue
		}
		line, _, _ := strings.Cut(rest, "\n")
		id, err := strconv.Atoi(strings.TrimSpace(line))
		must(r.t, err)
		m, err := ebpf.NewMapFromID(ebpf.MapID(id))
		must(r.t, err)
		info, err := m.Info()
		must(r.t, err)
		if strings.HasPrefix(info.Name, "sessions") {
			key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
			entries := m.Iterate()
			for entries.Next(&key, &value) {
				n++
			}
			must(r.t, entries.Err())
		}
		must(r.t, m.Close())
	}
	return n
}

// Sessions that end in every way, while routes and MTUs change all the time, leave no entry in the
// program, and those that stay lose nothing.
func TestKernelPathLeavesNoEntries(t *testing.T) {
	t.Parallel()
	f := &kernelFlows{kernelLab: openKernelLab(t)}
	n := f.behind(f.Origin, "veth", 78)
	f.l = f.backend(n, netip.MustParseAddr("10.78.0.2"), &f.seen)
	f.start(4, "--idle-timeout=2s")
	stop := f.flap()
	port := f.port(callers4)
	var memory payloadMemory
	for round := range 5 {
		var ending []*srttest.Session
		for k := range 20 {
			s, err := port.Dial(patiently(t), f.r.addr, srttest.CallerOptions{
				Timeout: patience, StreamID: fmt.Sprintf("#!::r=live/e%d-%d,m=publish", round, k),
			})
			must(t, err)
			must(t, s.SendData(memory.payload(0, shortData)))
			ending = append(ending, s)
		}
		for k, s := range ending {
			await(t, s, "an echo", func() bool { return s.Counters().Received > 0 })
			switch k % 4 {
			case 0:
				must(t, s.SendShutdown())
			case 1:
				conn, _ := connectionOf(t, s, f.l)
				must(t, f.l.SendShutdown(conn))
			case 2:
				f.r.closeSession(s.ID())
			case 3: // it becomes idle
			}
			s.Close()
		}
	}
	f.r.await("the other sessions freed", func(st stats) bool { return st["sessions"] == 4 && st["tombstones"] == 0 })
	stop()
	f.awaitReturn("flows after all changes")
	if n := f.r.kernelEntries(); n != 2*4 {
		t.Errorf("%d entries of 4 sessions", n)
	}
	stopAll(f.flows)
	checkAll(f.flows, f.l)
}

// flap changes routes and the MTU of a device all the time, until stop.
func (f *kernelFlows) flap() (stop func()) {
	ctx, cancel := context.WithCancel(patiently(f.t))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for k := 0; ctx.Err() == nil; k++ {
			_, err := f.Origin.Run(ctx, "ip", "route", "replace", "10.99.0.0/24", "dev", "veth", "metric", strconv.Itoa(1+k%2))
			if err == nil {
				_, err = f.Origin.Run(ctx, "ip", "link", "set", "veth", "mtu", strconv.Itoa(1500+100*(k%2)))
			}
			if err != nil && ctx.Err() == nil {
				f.t.Error(err)
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// closeSession ends the session of a caller's socket by the API, unless it has ended.
func (r *relay) closeSession(callerID uint32) {
	r.t.Helper()
	if id := r.findSession(callerID); id != "" {
		_, _ = r.call(http.MethodDelete, "/api/v1/sessions/"+id, "")
	}
}
