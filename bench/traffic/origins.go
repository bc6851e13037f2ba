//go:build linux

package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"srtrelay/bench/lab"
)

// Origins are backends of the real libsrt: the program of internal/origin, once per backend.
// They belong to one run.
type Origins struct{ all []*origin }

// origin is one of them. Its counts are complete when done is closed.
type origin struct {
	proc      *lab.Process
	listening chan struct{} // closed when it accepts callers
	done      chan struct{} // closed at the end of its output
	counts    Counts
}

// Counts are what the connections to origins have come to.
type Counts struct {
	Sessions int
	Data     uint64  // data datagrams received
	RTT      float64 // sum of the sessions' smoothed round trips, us
}

// StartOrigins starts the origins in place of sinks.
func (e Ends) StartOrigins(ctx context.Context, program string) (*Origins, error) {
	o := &Origins{}
	for _, at := range e.Backends(netip.IPv4Unspecified()) {
		args := []string{program, at.Addr().String(), strconv.Itoa(int(at.Port()))}
		proc, err := e.Lab.Origin.Start(lab.Program{Label: "origin", Args: args, CPUs: e.CPUs, Stdin: true})
		if err != nil {
			o.Kill()
			return nil, err
		}
		one := &origin{proc: proc, listening: make(chan struct{}), done: make(chan struct{})}
		o.all = append(o.all, one)
		go one.read(proc.Stdout)
	}
	for _, one := range o.all {
		if err := one.await(ctx, one.listening); err != nil {
			o.Kill()
			return nil, err
		}
	}
	return o, nil
}

// read counts the events that an origin prints.
func (o *origin) read(out io.Reader) {
	defer close(o.done)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		event, rest, _ := strings.Cut(lines.Text(), " ")
		switch event {
		case "listening":
			close(o.listening)
		case "closed":
			o.counts.add(rest)
		}
	}
}

// add adds a connection's last line.
func (c *Counts) add(pairs string) {
	c.Sessions++
	for _, pair := range strings.Fields(pairs) {
		key, value, _ := strings.Cut(pair, "=")
		n, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case key == "srt_packets":
			c.Data += uint64(n)
		case key == "rtt_us":
			c.RTT += n
		}
	}
}

// await waits for an event of an origin that lives.
func (o *origin) await(ctx context.Context, event <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	select {
	case <-event:
		return nil
	case <-o.done:
		<-o.proc.Done
		return o.proc.Failure()
	case <-ctx.Done():
		return fmt.Errorf("origin gives no answer: %w: %s", ctx.Err(), o.proc.Said())
	}
}

// PIDs are the origins' processes.
func (o *Origins) PIDs() []int {
	var all []int
	for _, one := range o.all {
		all = append(all, one.proc.PID)
	}
	return all
}

// Stop ends the origins and returns what they have counted.
func (o *Origins) Stop() (sum Counts, err error) {
	for _, one := range o.all {
		err = errors.Join(err, one.proc.Signal(syscall.SIGTERM))
	}
	patience := time.After(answerPatience)
	for _, one := range o.all {
		select {
		case <-one.done:
			sum.Sessions += one.counts.Sessions
			sum.Data += one.counts.Data
			sum.RTT += one.counts.RTT
		case <-patience:
			err = errors.Join(err, errors.New("origin does not end"))
		}
	}
	o.Kill()
	return sum, err
}

// Kill ends the origins at once. It may follow Stop, and o may be nil.
func (o *Origins) Kill() {
	if o == nil {
		return
	}
	for _, one := range o.all {
		one.proc.Kill()
	}
	o.all = nil
}
