//go:build linux

package rig

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"srtrelay/bench/lab"
	"srtrelay/bench/peers"
)

// Gauges are the resources that a relay uses.
type Gauges struct {
	RSS        uint64 // bytes
	FDs        int
	Threads    int
	Goroutines int
}

// Gauges reads them. A number that cannot be read is an error, because it would seem not to
// grow.
func (r *Relay) Gauges() (g Gauges, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.PID))
	if err != nil {
		return g, fmt.Errorf("read the relay's memory: %w", err)
	}
	kib, threads := numberOf(string(text), "VmRSS:"), numberOf(string(text), "Threads:")
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.PID))
	if err != nil {
		return g, fmt.Errorf("count the relay's files: %w", err)
	}
	metrics, err := r.API.Get("/metrics")
	if err != nil {
		return g, err
	}
	goroutines := numberOf(string(metrics), "go_goroutines")
	if kib == 0 || threads == 0 || goroutines == 0 {
		return g, fmt.Errorf("read the relay's gauges: %d KiB, %d threads, %d goroutines", kib, threads, goroutines)
	}
	return Gauges{RSS: kib << 10, FDs: len(files), Threads: int(threads), Goroutines: int(goroutines)}, nil
}

// clockTick is that of /proc/PID/stat, USER_HZ, which is 100 on every architecture of Go.
const clockTick = 10 * time.Millisecond

// CPU returns how much CPU the relay has used.
func (r *Relay) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.PID))
	if err != nil {
		return 0, fmt.Errorf("read the relay's CPU time: %w", err)
	}
	// The second field is the name in parentheses, and may hold blanks.
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	const user, system = 11, 12
	if len(f) <= system {
		return 0, fmt.Errorf("read the relay's CPU time: %q", text)
	}
	var sum time.Duration
	for _, i := range []int{user, system} {
		n, err := strconv.ParseUint(f[i], 10, 63)
		if err != nil {
			return 0, fmt.Errorf("read the relay's CPU time: %w", err)
		}
		sum += time.Duration(n) * clockTick
	}
	return sum, nil
}

// StoreUp reports whether the shared state is in use.
func (r *Relay) StoreUp() bool {
	metrics, err := r.API.Get("/metrics")
	return err == nil && numberOf(string(metrics), "srtrelay_store_up") == 1
}

// Overload returns the step of the overload ladder, as a number, and how often each step was
// entered.
func (r *Relay) Overload() (step int, entered map[string]uint64, err error) {
	metrics, err := r.API.Get("/metrics")
	if err != nil {
		return 0, nil, err
	}
	entered = map[string]uint64{}
	for line := range strings.Lines(string(metrics)) {
		rest, ok := strings.CutPrefix(line, `srtrelay_overload_step_entered_total{step="`)
		name, number, _ := strings.Cut(rest, `"} `)
		if n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64); ok && err == nil {
			entered[name] = n
		}
	}
	return int(numberOf(string(metrics), "srtrelay_overload_step")), entered, nil
}

// numberOf returns the number after a word at the beginning of a line, 0 if there is none.
func numberOf(text, word string) uint64 {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != word {
			continue
		}
		if v, err := strconv.ParseFloat(f[1], 64); err == nil && v >= 0 {
			return uint64(v)
		}
	}
	return 0
}

// Drops are the datagrams that the kernel dropped, by owner of the queue.
type Drops struct {
	Callers uint64 // at the callers' sockets: the generator's own fault
	Servers uint64 // at the servers' sockets: the generator's, too
	Relay   uint64 // at the relay's sockets
	// Host is what the queue between the devices and the sockets dropped, of
	// the whole machine: net.core.netdev_max_backlog.
	Host uint64
}

// Generator returns the drops that were not the relay's.
func (d Drops) Generator() uint64 { return d.Callers + d.Servers + d.Host }

// Minus returns the drops since o.
func (d Drops) Minus(o Drops) Drops {
	return Drops{d.Callers - o.Callers, d.Servers - o.Servers, d.Relay - o.Relay, d.Host - o.Host}
}

// readDrops reads the drops of all UDP sockets of the lab.
func readDrops(l *lab.Lab) (d Drops, err error) {
	callers, err := socketDrops(l.Callers)
	if err != nil {
		return d, err
	}
	for _, n := range callers {
		d.Callers += n
	}
	origin, err := socketDrops(l.Origin)
	if err != nil {
		return d, err
	}
	for port, n := range origin {
		if port >= FirstServer && port < FirstServer+maxServers {
			d.Servers += n
		} else {
			d.Relay += n
		}
	}
	text, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		return d, fmt.Errorf("read the host's queues: %w", err)
	}
	d.Host, err = parseSoftnet(string(text))
	return d, err
}

// socketDrops are the drops of a namespace's UDP sockets by port.
func socketDrops(n *lab.Namespace) (byPort map[int]uint64, err error) {
	var text []byte
	err = n.Do(func() (err error) {
		// Of the thread, which is in the namespace.
		text, err = os.ReadFile("/proc/thread-self/net/udp")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read sockets: %w", err)
	}
	return parseSockets(string(text))
}

// parseSockets reads /proc/net/udp: the second column is the local address and
// port in hex, the last one the drops.
func parseSockets(text string) (map[int]uint64, error) {
	byPort := map[int]uint64{}
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Scan() // the head
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 13 {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		if err != nil {
			return nil, fmt.Errorf("read sockets: port %q: %w", hex, err)
		}
		drops, err := strconv.ParseUint(f[len(f)-1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read sockets: drops: %w", err)
		}
		byPort[int(port)] += drops
	}
	return byPort, nil
}

// parseSoftnet sums up the second column of /proc/net/softnet_stat, a line per
// CPU, in hex.
func parseSoftnet(text string) (sum uint64, err error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, err := strconv.ParseUint(f[1], 16, 64)
		if err != nil {
			return 0, fmt.Errorf("read the host's queues: %w", err)
		}
		sum += n
	}
	return sum, nil
}

// UpstreamPorts are the relay's ports towards its backends.
func (r *Rig) UpstreamPorts() (ports []int, err error) {
	all, err := socketDrops(r.Lab.Origin)
	for port := range all {
		if port != peers.Port && (port < FirstServer || port >= FirstServer+maxServers) {
			ports = append(ports, port)
		}
	}
	return ports, err
}
