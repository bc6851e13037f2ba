//go:build linux

package e2e

import (
	"bytes"
	endian "encoding/binary" // a variable of the harness has its name
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// wantOwnEcho sends words of its own through each session, all at once, and
// checks that each gets back its own and nobody else's.
func wantOwnEcho(t *testing.T, sessions ...*srttest.Session) {
	t.Helper()
	const each = 20
	for n := range each {
		for i, s := range sessions {
			must(t, s.SendData(fmt.Appendf(nil, "session %d packet %d", i, n)))
		}
	}
	done := patiently(t).Done()
	for i, s := range sessions {
		for n := range each {
			select {
			case b := <-s.Recv():
				if want := fmt.Sprintf("session %d packet %d", i, n); string(b[wire.HeaderSize:]) != want {
					t.Fatalf("session %d got %q, want %q", i, b[wire.HeaderSize:], want)
				}
			case <-done:
				t.Fatalf("session %d has no echo of packet %d: %+v", i, n, s.Counters())
			}
		}
	}
}

// Two callers with the same socket ID reach one backend, which can distinguish them by the
// relay's port only.
func TestCase19SameSocketIDTwoAddresses(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, "--shards=1", backendAt(l.Addr()))
	const id, isn = 0x1234567, 1000
	var all []*srttest.Session
	for i := range 4 { // as many as there are upstream ports
		o := srttest.CallerOptions{SocketID: id, ISN: isn + uint32(i/2), RecvBuffer: 64}
		all = append(all, mustDial(t, r.addr, o))
	}
	wantOwnEcho(t, all...)
	ports := map[any]bool{}
	for _, c := range l.Connections() {
		ports[c.Source] = true
	}
	if len(ports) != len(all) || l.Count() != len(all) {
		t.Errorf("%d connections from %d ports, want %d", l.Count(), len(ports), len(all))
	}
	_, err := tryDial(t, r.addr, srttest.CallerOptions{SocketID: id})
	wantRejection(t, err, 2402)
	// Any other ID still shares the first port.
	other := mustDial(t, r.addr, srttest.CallerOptions{RecvBuffer: 64})
	wantOwnEcho(t, append(all, other)...)
	if c, _ := connectionOf(t, other, l); c.Source != l.Connections()[0].Source {
		t.Errorf("a session without a rival left from %v", c.Source)
	}
}

// The two ID spaces have nothing to do with each other, not even on one port.
func TestCase20CallerIDEqualsBackendID(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, "--shards=1", backendAt(l.Addr()))
	const id, another = 0x2345678, 0x3456789
	port := openPort(t, loopback)
	dial := func(callerID, backendID uint32) *srttest.Session {
		l.FixID(backendID)
		s, err := port.Dial(patiently(t), r.addr, srttest.CallerOptions{SocketID: callerID, RecvBuffer: 64})
		must(t, err)
		return s
	}
	one := dial(another, id)
	two := dial(id, another) // the same, crosswise
	same := mustDial(t, r.addr, srttest.CallerOptions{SocketID: another, RecvBuffer: 64})
	wantOwnEcho(t, one, two, same)
}

// A datagram with a known ID from another address is dropped, on either side.
func TestCase21ForgedSource(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	echo(t, s, 5)
	conn, _ := connectionOf(t, s, l)
	before := counted(r, "echo counted", func(st stats) bool { return st["forwarded_to_caller"] == 5 })
	atBackend, atCaller := l.Stats().Datagrams, s.Counters()
	stranger := openPort(t, loopback)
	forged := func(id uint32) [][]byte {
		data := make([]byte, 100)
		wire.Packet(data).SetDestID(id)
		return [][]byte{data, wire.AppendShutdown(nil, 0, id)}
	}
	for range 10 {
		for _, b := range forged(s.PeerID()) {
			must(t, stranger.SendRaw(r.addr, b))
		}
		for _, b := range forged(s.ID()) {
			must(t, stranger.SendRaw(conn.Source, b))
		}
	}
	after := counted(r, "all dropped", func(st stats) bool {
		return st["foreign_caller"]-before["foreign_caller"] == 20 && st["foreign_backend"]-before["foreign_backend"] == 20
	})
	if after["forwarded_to_backend"] != before["forwarded_to_backend"] || after["sent"] != before["sent"] {
		t.Errorf("a forged datagram was forwarded: %v", after)
	}
	if s.Counters() != atCaller || l.Stats().Datagrams > atBackend+probesAtMost {
		t.Errorf("caller %+v, backend %+v", s.Counters(), l.Stats())
	}
	echo(t, s, 5)
}

// probesAtMost is how many of the relay's probes may reach a backend within a
// short test.
const probesAtMost = 10

// Nobody's datagrams leave nothing behind.
func TestCase22FloodOfUnknownIDs(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, "--idle-timeout=10m", backendAt(l.Addr())) // on a busy machine the flood takes its time
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(loopback))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	const (
		total = 1_000_000
		size  = 60
		train = 50 // datagrams per write, which the kernel cuts apart
		gulp  = 64 // writes until all must have been seen: less than fills a receive buffer of 212 KiB
	)
	b := make([]byte, train*size)
	var sent uint64
	flood := func(upTo uint64) {
		for sent < upTo {
			for range gulp {
				for i := range train {
					wire.Packet(b[i*size:]).SetDestID(1 + rand.Uint32N(1<<32-1))
				}
				_, _, err := conn.WriteMsgUDPAddrPort(b, segmented(size), r.addr)
				must(t, err)
				sent += train
			}
			r.await("flood counted", func(st stats) bool { return st["foreign_caller"] == sent })
		}
	}
	flood(total / 10)
	before := readHeap(r)
	flood(total)
	after := readHeap(r)
	// The heap would show 900,000 IDs remembered at a byte each; what else is
	// resident are receive buffers, and garbage that awaits its collection.
	resident := 16 << 20
	if raced {
		resident = 64 << 20 // the detector's own memory breathes
	}
	if heap := after.sums["HeapAlloc"] - before.sums["HeapAlloc"]; heap > 1<<20 || after.resident-before.resident > resident {
		t.Errorf("%d bytes more on the heap, %d bytes resident before, %d after", heap, before.resident, after.resident)
	}
	if st := r.stats(); st["sessions"] != 1 || st["tombstones"] != 0 || st["handshakes"] != 1 || l.Count() != 1 {
		t.Errorf("a stranger's datagram has left something: %v", st)
	}
	echo(t, s, 100)
}

// segmented is the control message that has one write cut into datagrams
// (UDP_SEGMENT, Linux 4.18).
func segmented(size uint16) []byte {
	const solUDP, udpSegment = 17, 103
	oob := make([]byte, syscall.CmsgSpace(2))
	native := endian.NativeEndian
	native.PutUint64(oob, uint64(syscall.CmsgLen(2)))
	native.PutUint32(oob[8:], solUDP)
	native.PutUint32(oob[12:], udpSegment)
	native.PutUint16(oob[16:], size)
	return oob
}

// Sessions cost no descriptors.
func TestCase28SessionsShareDescriptors(t *testing.T) {
	t.Parallel()
	const ports, each = 50, 20
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	before := r.openFDs()
	sessions := make([]*srttest.Session, ports*each)
	var dials sync.WaitGroup
	for p := range ports {
		port := openPort(t, loopback)
		dials.Go(func() {
			for i := range each {
				s, err := port.Dial(t.Context(), r.addr, srttest.CallerOptions{Timeout: patience})
				if err != nil {
					t.Errorf("port %d session %d: %v", p, i, err)
					return
				}
				sessions[p*each+i] = s
			}
		})
	}
	dials.Wait()
	if t.Failed() {
		return
	}
	st := counted(r, "all established", func(st stats) bool { return st["established"] == ports*each })
	// Two connections of the API, and what few upstream ports equal IDs ask for.
	if n := r.openFDs(); n > before+8 || st["sessions"] != ports*each {
		t.Errorf("%d file descriptors with %d sessions, %d before", n, st["sessions"], before)
	}
	payload := bytes.Repeat([]byte("x"), 1316)
	for _, s := range sessions {
		must(t, s.SendData(payload))
	}
	for _, s := range sessions {
		await(t, s, "echo", func() bool { return s.Counters().Received == 1 })
		must(t, s.SendShutdown())
	}
	r.awaitEmpty()
}

// Members of one group reach one process, whatever stream they name.
func TestCase33GroupMembersMeet(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	const group = 1<<30 | 77
	first := mustDial(t, c.addr, srttest.CallerOptions{GroupID: group, StreamID: "live/one"})
	at := c.backendOf(first)
	for i := range 3 {
		s := mustDial(t, c.addr, srttest.CallerOptions{GroupID: group, ISN: first.ISN(), StreamID: fmt.Sprint("live/member", i)})
		if c.backendOf(s) != at || s.Seen().GroupID != first.Seen().GroupID {
			t.Errorf("member %d is on another backend, mirror group %#x of %#x", i, s.Seen().GroupID, first.Seen().GroupID)
		}
	}
	loner := mustDial(t, c.addr, srttest.CallerOptions{StreamID: "live/loner"})
	if c.backendOf(loner) == at {
		t.Error("a caller outside the group is on the fuller backend")
	}
}
