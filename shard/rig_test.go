package shard

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/udp"
	"srtrelay/wire"
)

// rig is one shard on real loopback sockets whose turns the test makes itself:
// nothing happens between them, and time passes when the test says so.
type rig struct {
	*Shard
	owner    *Group
	t        testing.TB
	balancer *fakeBalancer
	caller   *net.UDPConn // connected to the shard
	backend  *net.UDPConn
	events   chan *Event
	front    netip.AddrPort

	// clock is the time of the shard's turns. It is the test's own: a host that gives the
	// test no CPU for a while delays it, and no timeout fires for that.
	clock time.Duration
}

// fakeBalancer answers when told to.
type fakeBalancer struct {
	mu          sync.Mutex // loops that run share it
	target      backend.Target
	err         error
	busy        bool // refuses everything
	hold        bool // keeps answers back
	held        []func()
	heldFor     []backend.Query
	released    []backend.Lease
	outcomes    []backend.Outcome
	unreachable []backend.ID
	asked       []backend.Query
}

func (b *fakeBalancer) Resolve(q backend.Query, done func(backend.Target, error) bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy {
		return false
	}
	// A shard that takes over asks again for what the other one has not heard of.
	again := -1
	if takeOvers && b.hold {
		again = slices.Index(b.heldFor, q)
	}
	if again < 0 {
		b.asked = append(b.asked, q)
	}
	target, err := b.target, b.err
	answer := func() {
		if !done(target, err) && target.Lease != 0 {
			b.released = append(b.released, target.Lease)
		}
	}
	switch {
	case again >= 0:
		b.held[again] = answer
	case b.hold:
		b.held, b.heldFor = append(b.held, answer), append(b.heldFor, q)
	default:
		answer()
	}
	return true
}

func (b *fakeBalancer) Report(o backend.Outcome) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy {
		return false
	}
	b.outcomes = append(b.outcomes, o)
	if o.Fate != backend.FateBegan {
		b.released = append(b.released, o.Lease)
	}
	return true
}

func (b *fakeBalancer) Unreachable(id backend.ID, _ bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unreachable = append(b.unreachable, id)
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	r := &rig{t: t, backend: listen(), balancer: &fakeBalancer{}, events: make(chan *Event, 100)}
	r.balancer.target = backend.Target{ID: "b1", Addr: addrOf(r.backend), Lease: 7}
	cfg := Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Shards: 1, Batch: 16, UpstreamPorts: 2,
		Sockets:     udp.Options{GRO: true, GSO: true},
		MaxSessions: 100, MaxHalfOpen: 50, MaxHalfOpenPerSource: 10,
		Telemetry:   true,
		IdleTimeout: 30 * time.Second, BackendSilence: 4 * time.Second,
		Registry: backend.NewRegistry(), Resolver: r.balancer, Events: r.events,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	for _, c := range change {
		c(&cfg)
	}
	g, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	r.owner, r.Shard, r.front = g, g.shards[0], g.Addrs()[0]
	r.clock = time.Since(r.origin)
	r.caller = r.dialFront()
	return r
}

// dialFront returns another caller's socket.
func (r *rig) dialFront() *net.UDPConn {
	r.t.Helper()
	to := r.front
	if to.Addr().IsUnspecified() {
		to = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port())
	}
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

func addrOf(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// turnTakes is how much later each turn is than the one before.
const turnTakes = time.Microsecond

// turn is a turn of the shard at the test's time.
func (r *rig) turn() bool { return r.turnOf(r.Shard) }

// turnOf is a turn of one of the group's shards.
func (r *rig) turnOf(s *Shard) bool {
	r.clock += turnTakes
	return s.turnAt(r.time())
}

// time returns the test's time. That of the kernel path cannot be scripted, so that a shard
// with it goes by the same clock.
func (r *rig) time() time.Duration {
	if r.cfg.Kernel != nil {
		return time.Since(r.origin)
	}
	return r.clock
}

// settle makes turns until two in a row find nothing to receive. Loopback
// delivers within the send call, so that is all there is.
func (r *rig) settle() {
	r.t.Helper()
	for idle := 0; idle < 2; {
		r.eachEndpoint(func(l *endpoint, _ int) { l.readable = true })
		if r.turn() {
			idle = 0
		} else {
			idle++
		}
	}
	if takeOvers && !r.exiting {
		r.takeOver()
		r.turn()
		r.stalls.due = never
	}
}

// pass lets time go by and makes the turns that it brings. The loop sleeps
// meanwhile, as it does when nothing is due.
func (r *rig) pass(d time.Duration) {
	r.elapse(d)
	r.settle()
}

func (r *rig) elapse(d time.Duration) {
	r.clock += d
	r.origin, r.originAt = r.origin.Add(-d), r.originAt-d
}

// stall lets time go by while the loop is stopped.
func (r *rig) stall(d time.Duration) {
	r.stalls.due = r.now
	r.elapse(d)
	r.turn()
	r.stalls.due = never
	r.settle()
}

// send writes b from a caller's socket and lets the shard work.
func (r *rig) send(c *net.UDPConn, b []byte) {
	r.t.Helper()
	if _, err := c.Write(b); err != nil {
		r.t.Fatal(err)
	}
	r.settle()
}

// reply writes b from the backend to the shard.
func (r *rig) reply(to netip.AddrPort, b []byte) {
	r.t.Helper()
	if _, err := r.backend.WriteToUDPAddrPort(b, to); err != nil {
		r.t.Fatal(err)
	}
	r.settle()
}

// receive returns what has arrived at c, one datagram, and its sender; nil if there is
// none. A test that was not given the CPU for longer than receiveTimeout still finds what had
// arrived: the deadline ends a read before it looks.
func (r *rig) receive(c *net.UDPConn) ([]byte, netip.AddrPort) {
	r.t.Helper()
	b := make([]byte, 2048)
	if err := c.SetReadDeadline(time.Now().Add(receiveTimeout)); err != nil {
		r.t.Fatal(err)
	}
	n, from, err := c.ReadFromUDPAddrPort(b)
	_ = c.SetReadDeadline(time.Time{})
	if err != nil {
		return r.receiveNow(c, b)
	}
	return b[:n], from
}

// receiveTimeout is how long receive waits. What a turn sends over loopback has arrived
// when the send call returns.
const receiveTimeout = 20 * time.Millisecond

// receiveNow is receive without waiting.
func (r *rig) receiveNow(c *net.UDPConn, b []byte) (got []byte, from netip.AddrPort) {
	r.t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		r.t.Fatal(err)
	}
	_ = raw.Read(func(fd uintptr) bool {
		n, sender, err := syscall.Recvfrom(int(fd), b, syscall.MSG_DONTWAIT)
		if at, ok := sender.(*syscall.SockaddrInet4); ok && err == nil {
			got, from = b[:n], netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))
		}
		return true
	})
	return got, from
}

// expect returns the next datagram at c as a handshake of a type.
func (r *rig) expect(c *net.UDPConn, want wire.HandshakeType) (wire.Handshake, netip.AddrPort) {
	r.t.Helper()
	b, from := r.receive(c)
	h, ok := wire.AsHandshake(b)
	if !ok || h.Type() != want {
		r.t.Fatalf("received %x, want a handshake of type %d; counters %v", b, want, r.nonzero())
	}
	return h, from
}

// expectShutdown wants a SHUTDOWN for the socket ID.
func (r *rig) expectShutdown(c *net.UDPConn, id uint32) {
	r.t.Helper()
	b, _ := r.receive(c)
	if len(b) != wire.ShutdownSize || !wire.Packet(b).Is(wire.TypeShutdown) || wire.Packet(b).DestID() != id {
		r.t.Fatalf("received %x, want SHUTDOWN for %d; counters %v", b, id, r.nonzero())
	}
}

// expectNothing wants silence.
func (r *rig) expectNothing(c *net.UDPConn) {
	r.t.Helper()
	if b, _ := r.receive(c); b != nil {
		r.t.Fatalf("received %x, want nothing", b)
	}
}

func (r *rig) nonzero() map[string]uint64 {
	m := map[string]uint64{}
	for k, n := range r.counters.Read(0).Values {
		if n != 0 {
			m[Counter(k).String()] = n
		}
	}
	return m
}

func (r *rig) count(k Counter) uint64 { return r.counters.Read(0).Values[k] }

// Socket IDs of the rig's peers.
const (
	callerID  = 0x11111111
	backendID = 0x22222222
	callerISN = 1000
)

// conclusion builds a caller's HSv5 CONCLUSION.
func conclusion(id, isn, cookie, timestamp uint32) wire.Handshake {
	b := handshake.AppendInduction(nil, id, handshake.Nonce(isn), netip.MustParseAddr("127.0.0.1"))
	h := wire.Handshake(b)
	h.SetVersion(5)
	h.SetExtension(wire.FlagHSReq | wire.FlagConfig)
	h.SetType(wire.HandshakeConclusion)
	h.SetCookie(cookie)
	h.Packet().SetTimestamp(timestamp)
	b = wire.AppendFeatures(b, wire.BlockHSReq, wire.Features{Version: 0x10501, Flags: 0xBF, RecvDelay: 120})
	return wire.Handshake(wire.AppendString(b, wire.BlockSID, "#!::r=live/x,m=publish"))
}

// cookie gets a caller's socket its cookie.
func (r *rig) cookie(c *net.UDPConn, id uint32) uint32 {
	r.t.Helper()
	r.send(c, handshake.AppendInduction(nil, id, 1, r.front.Addr()))
	h, _ := r.expect(c, wire.HandshakeInduction)
	return h.Cookie()
}

// backendCookie is what the rig's backend asks for.
const backendCookie = 0xC0FFEE

// answerInduction plays the backend's first reply, unless the shard knows the
// cookie already, and returns the CONCLUSION that follows, with the shard's
// upstream address.
func (r *rig) answerInduction() (wire.Handshake, netip.AddrPort) {
	r.t.Helper()
	b, upstream := r.receive(r.backend)
	h, ok := wire.AsHandshake(b)
	if ok && h.Type() == wire.HandshakeInduction {
		r.reply(upstream, handshake.AppendInductionReply(nil, h, backendCookie, 0, upstream.Addr()))
		b, _ = r.receive(r.backend)
		h, ok = wire.AsHandshake(b)
	}
	if !ok || h.Type() != wire.HandshakeConclusion {
		r.t.Fatalf("received %x, want a CONCLUSION; counters %v", b, r.nonzero())
	}
	if h.Cookie() != backendCookie {
		r.t.Fatalf("CONCLUSION with cookie %x, want the backend's", h.Cookie())
	}
	return h, upstream
}

// accept builds the backend's response to a CONCLUSION.
func accept(h wire.Handshake, id uint32) []byte {
	b := append([]byte(nil), h[:wire.HandshakeSize]...)
	wire.Packet(b).SetDestID(h.SocketID())
	wire.Handshake(b).SetSocketID(id)
	wire.Handshake(b).SetExtension(wire.FlagHSReq)
	return wire.AppendFeatures(b, wire.BlockHSRsp, wire.Features{Version: 0x10501, Flags: 0xBF, RecvDelay: 120})
}

// establish connects one caller and returns the shard's upstream address.
func (r *rig) establish(c *net.UDPConn, id, isn uint32, peerID uint32) netip.AddrPort {
	r.t.Helper()
	r.send(c, conclusion(id, isn, r.cookie(c, id), 500))
	h, upstream := r.answerInduction()
	r.reply(upstream, accept(h, peerID))
	if h, _ := r.expect(c, wire.HandshakeConclusion); h.SocketID() != peerID || h.Packet().DestID() != id {
		r.t.Fatalf("response with socket ID %x for %x", h.SocketID(), h.Packet().DestID())
	}
	return upstream
}

// packet builds a data packet for a socket ID.
func packet(id uint32, size int) []byte {
	b := make([]byte, size)
	wire.Packet(b).SetDestID(id)
	return b
}

// wantEmpty checks that no trace of any session is left.
func (r *rig) wantEmpty() {
	r.t.Helper()
	if r.sessions.live != 0 || r.sessions.table.used != 0 || r.admission.halfOpen != 0 || r.sessions.tombstones != 0 ||
		r.usage.sources.Held() != 0 || r.usage.streams.Held() != 0 || len(r.pendingInductions) != 0 || len(r.peers.byAddr) != 0 || r.wheel.pending != 0 || len(r.outcomes.unreported) != 0 {
		r.t.Errorf("left: %d sessions, %d table entries, %d half-open, %d tombstones, %d sources, %d peers, %d timers, %d owed leases",
			r.sessions.live, r.sessions.table.used, r.admission.halfOpen, r.sessions.tombstones, r.usage.sources.Held(), len(r.peers.byAddr), r.wheel.pending, len(r.outcomes.unreported))
	}
	for c := range r.sessions.coldChunks {
		for _, sd := range r.sessions.coldChunks[c] {
			if sd != (coldState{}) {
				r.t.Errorf("left: %+v", sd)
			}
		}
	}
}

// lastEvent returns the newest event of a kind.
func (r *rig) lastEvent(kind EventKind) Event {
	r.t.Helper()
	var last Event
	found := false
	for len(r.events) > 0 {
		if e := <-r.events; e.Kind == kind {
			last, found = *e, true
		}
	}
	if !found {
		r.t.Fatalf("no event of kind %d", kind)
	}
	return last
}
