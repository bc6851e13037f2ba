//go:build linux

package e2e

import (
	endian "encoding/binary" // a variable of the harness has its name
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// payloads counts those that are as they were sent, and others. Each has its number and
// its length at its head, and such bytes as the head says.
type payloads struct{ good, bad atomic.Uint64 }

const (
	payloadHead = 8
	// longestPayload is what fits into an IPv6 datagram of 1,500 bytes.
	longestPayload = 1500 - 40 - 8 - wire.HeaderSize
	payloadStep    = 0x9e3779b97f4a7c15 // odd and large: 2^64 over the golden ratio
)

// payloadMemory holds any payload.
type payloadMemory [longestPayload + payloadHead]byte

// payload makes the n-th payload, of at most so many bytes.
func (m *payloadMemory) payload(n uint64, longest int) []byte {
	size := payloadHead + int(n*97)%(longest-payloadHead+1)
	return m.fill(n<<16|uint64(size), size)
}

func (m *payloadMemory) fill(head uint64, size int) []byte {
	b := endian.BigEndian.AppendUint64(m[:0], head)
	for x := head; len(b) < size; {
		x = (x^x>>29)*payloadStep + head
		b = endian.BigEndian.AppendUint64(b, x)
	}
	return b[:size]
}

// check looks at a datagram.
func (p *payloads) check(datagram []byte) {
	if wire.Packet(datagram).IsControl() {
		return
	}
	got := datagram[wire.HeaderSize:]
	var memory payloadMemory
	if len(got) < payloadHead || len(got) > longestPayload {
		p.bad.Add(1)
		return
	}
	head := endian.BigEndian.Uint64(got)
	if int(head&0xffff) != len(got) || string(memory.fill(head, len(got))) != string(got) {
		p.bad.Add(1)
		return
	}
	p.good.Add(1)
}

// numberedFlow is a session whose caller sends numbered payloads to a backend that
// sends them back.
type numberedFlow struct {
	t        *testing.T
	s        *srttest.Session
	returned *payloads
	window   uint64
	rate     int // packets per second
	longest  int // payload
	sent     uint64

	stopped chan struct{}
	sending sync.WaitGroup
	err     error
}

// flowBuffer is how many datagrams all flows of a test may have under way: all of them
// fit into one socket's receive buffer, so that a test that waits loses none.
const flowBuffer = 3000

// dialFlows connects flows that share a rate in packets per second.
func dialFlows(t *testing.T, p *srttest.CallerPort, r *relay, n, rate int) []*numberedFlow {
	t.Helper()
	first := len(p.Sessions())
	to := r.all[slices.IndexFunc(r.all, func(a netip.AddrPort) bool { return a.Addr().Is4() == p.Addr().Addr().Is4() })]
	flows := make([]*numberedFlow, n)
	var dials sync.WaitGroup
	turn := make(chan struct{}, dialsAtOnce)
	errs := make([]error, n)
	for i := range flows {
		f := &numberedFlow{
			t: t, returned: &payloads{}, window: uint64(max(flowBuffer/n, 16)),
			rate: max(rate/n, 1), longest: longestPayload,
		}
		flows[i] = f
		turn <- struct{}{}
		dials.Go(func() {
			defer func() { <-turn }()
			f.s, errs[i] = p.Dial(patiently(t), to, srttest.CallerOptions{
				Timeout: patience, StreamID: "#!::r=" + streamOf(first+i) + ",m=publish",
				OnPacket: func(_ *srttest.Session, b []byte) { f.returned.check(b) },
			})
		})
	}
	dials.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("dial %v: %v\n%s", to, err, r.tail())
	}
	return flows
}

// streamOf is the stream of a port's i-th flow.
func streamOf(i int) string { return fmt.Sprintf("live/n%d", i) }

// run begins to send, until stop.
func (f *numberedFlow) run() {
	f.stopped = make(chan struct{})
	f.sending.Go(func() {
		var memory payloadMemory
		begun, first := time.Now(), f.sent
		tick := time.NewTicker(max(time.Second/time.Duration(f.rate), time.Millisecond))
		defer tick.Stop()
		for f.err == nil {
			select {
			case <-f.stopped:
				return
			case <-f.s.Done():
				f.err = f.s.Err()
				return
			case <-tick.C:
			}
			due := first + uint64(time.Since(begun).Seconds()*float64(f.rate))
			due = min(due, f.s.Counters().Received+f.window)
			for ; f.sent < due && f.err == nil; f.sent++ {
				f.err = f.s.SendData(memory.payload(f.sent, f.longest))
			}
		}
	})
}

// stop ends the sending and waits until all has come back.
func (f *numberedFlow) stop() {
	f.t.Helper()
	close(f.stopped)
	f.sending.Wait()
	err := f.s.Await(patiently(f.t), func() bool { return f.s.Counters().Received >= f.sent })
	if err != nil || f.err != nil {
		f.t.Errorf("flow %d: %v %v; %+v", f.s.ID(), f.err, err, f.s.Counters())
	}
}

// check fails the test unless every payload arrived once, in order and unchanged, at
// the backend and back at the caller.
func (f *numberedFlow) check(backends ...*srttest.Listener) {
	f.t.Helper()
	checkCleanEnd(f.t, "flow", f.s.Counters(), f.sent)
	conn, _ := connectionOf(f.t, f.s, backends...)
	checkCleanEnd(f.t, "flow at the backend", conn.Counters(), f.sent)
	if bad := f.returned.bad.Load(); bad != 0 || f.returned.good.Load() != f.sent {
		f.t.Errorf("flow %d: %d payloads returned unchanged of %d, %d changed", f.s.ID(), f.returned.good.Load(), f.sent, bad)
	}
	if err := f.s.Err(); err != nil {
		f.t.Errorf("flow %d: %v", f.s.ID(), err)
	}
}

// runAll, stopAll and checkAll are run, stop and check of several flows.
func runAll(flows []*numberedFlow) {
	for _, f := range flows {
		f.run()
	}
}

func stopAll(flows []*numberedFlow) {
	for _, f := range flows {
		f.t.Helper()
		f.stop()
	}
}

func checkAll(flows []*numberedFlow, backends ...*srttest.Listener) {
	for _, f := range flows {
		f.t.Helper()
		f.check(backends...)
	}
}

// sent is how many datagrams all of them have sent.
func sent(flows []*numberedFlow) (sum uint64) {
	for _, f := range flows {
		sum += f.sent
	}
	return sum
}

// awaitSent waits until each of running flows has sent so many more, and got them back.
func awaitSent(flows []*numberedFlow, more uint64) {
	want := make([]uint64, len(flows))
	for i, f := range flows {
		want[i] = f.s.Counters().Received + more
	}
	for i, f := range flows {
		f.t.Helper()
		await(f.t, f.s, "echo of numbered datagrams", func() bool { return f.s.Counters().Received >= want[i] })
	}
}

// awaitInKernel waits until the kernel relays both ways of all running flows: none of their
// datagrams waits for a handover.
func awaitInKernel(r *relay, flows []*numberedFlow) {
	r.t.Helper()
	r.await("all sessions in the kernel path", func(st stats) bool {
		return st["kernel_path_sessions"] == uint64(len(flows))
	})
	for deadline := time.Now().Add(patience); ; {
		before := r.pending()
		awaitSent(flows, 10)
		switch {
		case r.pending() == before:
			return
		case time.Now().After(deadline):
			r.t.Fatalf("datagrams still wait for a handover\n%s", r.tail())
		}
	}
}

// pending is how many datagrams of sessions went up because their way was not handed over.
func (r *relay) pending() (n uint64) {
	r.t.Helper()
	var data struct {
		KernelPath answer.KernelPath `json:"kernel_path"`
	}
	r.get("/api/v1/shards", &data)
	for _, d := range data.KernelPath.Devices {
		n += d.Up["pending"]
	}
	return n
}
