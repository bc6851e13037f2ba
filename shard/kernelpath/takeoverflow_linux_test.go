package kernelpath

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/observe/telemetry"
	"srtrelay/wire"
)

// stream is numbered datagrams of a session, from a caller to a backend, with a user space
// that relays what goes up and that can be parked between two turns.
type stream struct {
	relayed
	t              *testing.T
	caller, server *net.UDPConn
	stop           chan struct{}
	all            sync.WaitGroup
	parked         sync.Mutex

	sent, received atomic.Uint32
	reordered      int
}

// newStream starts a stream in an address family.
func newStream(t *testing.T, w *network, family int) *stream {
	u := &stream{t: t, caller: w.listen(w.callers, callerAddresses[family]), server: w.listen(w.relay, localAddresses[family])}
	u.front, u.upstream = w.listen(w.relay, frontAddresses[family]), w.listen(w.relay, localAddresses[family])
	u.stop = make(chan struct{})
	u.e = Session{
		Place: w.next, Gen: 1, Caller: local(u.caller), Backend: local(u.server), Front: local(u.front),
		Upstream: addr.AddrPort{Port: local(u.upstream).Port}, CallerID: callerID, BackendID: backendID,
	}
	w.next++
	s := w.path.Shard(0)
	u.w = s.Way(u.e.Place, int(telemetry.ToBackend))
	s.Reset(u.e.Place, u.e.Gen)
	if err := s.Enter(&u.e); err != nil {
		t.Fatal(err)
	}
	u.all.Go(u.relay)
	u.all.Go(u.receive)
	u.all.Go(u.send)
	return u
}

func (u *stream) ended() bool {
	select {
	case <-u.stop:
		return true
	default:
		return false
	}
}

// relay is the user space.
func (u *stream) relay() {
	b := make([]byte, 2000)
	for !u.ended() {
		u.parked.Lock()
		err := u.turn(b)
		u.parked.Unlock()
		if err != nil {
			u.t.Error(err)
			return
		}
	}
}

// window is how many datagrams may be under way, so that no buffer overflows.
const window = 512

// send sends as fast as the window allows, until a datagram is lost.
func (u *stream) send() {
	front, progress := u.e.Front.Netip(), time.Now()
	for last := uint32(0); !u.ended(); {
		received := u.received.Load()
		if received != last {
			last, progress = received, time.Now()
		}
		n := u.sent.Load()
		if n-received >= window {
			if time.Since(progress) > 20*time.Second {
				u.t.Errorf("%d of %d datagrams have arrived", received, n)
				return
			}
			time.Sleep(20 * time.Microsecond)
			continue
		}
		p := dataOf(n+1, plain, backendID, 100)
		binary.BigEndian.PutUint32(p[8:], n+1)
		if _, err := u.caller.WriteToUDPAddrPort(p, front); err != nil {
			u.t.Error(err)
			return
		}
		u.sent.Add(1)
	}
}

// receive is the backend.
func (u *stream) receive() {
	b := make([]byte, 2000)
	for want := uint32(1); ; want++ {
		_ = u.server.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, _, err := u.server.ReadFromUDPAddrPort(b)
		if err != nil && u.ended() {
			return
		}
		if err != nil {
			want--
			continue
		}
		if seq := wire.Packet(b[:n]).Sequence(); seq != want {
			u.reordered++
			want = seq
		}
		u.received.Add(1)
	}
}

// await waits until so many more datagrams have passed in the kernel.
func (u *stream) await(more uint32) {
	u.t.Helper()
	from := u.w.Passed().Packets
	for end := time.Now().Add(20 * time.Second); u.w.Passed().Packets-from < more; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			u.t.Fatalf("the way does not become on: mode %d", u.w.Mode())
		}
	}
}

// check ends the stream, and checks that all has arrived in order.
func (u *stream) check() {
	u.t.Helper()
	close(u.stop)
	u.all.Wait()
	sent, received, passed := u.sent.Load(), u.received.Load(), u.w.Passed().Packets
	u.t.Logf("%d datagrams, %d of them in the kernel, %d by user space", sent, passed, u.written)
	if received != sent || u.reordered > 0 || passed+u.written != sent {
		u.t.Errorf("%d of %d have arrived, %d out of order; %d in the kernel, %d by user space",
			received, sent, u.reordered, passed, u.written)
	}
}

// Established sessions go on over 20 take-overs in a row: no datagram is lost or overtaken,
// and the counters go on. In every other one the ways are being handed over.
func TestTakeOverUnderFlow(t *testing.T) {
	w := newNetwork(t)
	w.path = w.relay.open(t)
	streams := []*stream{newStream(t, w, 4), newStream(t, w, 6)}
	for round := range 20 {
		for _, u := range streams {
			u.await(200)
		}
		old := w.path
		if round%2 == 1 {
			old.pause()
			time.Sleep(time.Millisecond)
			old.resume()
		}
		fresh := w.relay.takeOver(t, old)
		for _, u := range streams {
			u.parked.Lock()
		}
		fresh.Start()
		for _, u := range streams {
			u.w = fresh.Shard(0).Way(u.e.Place, int(telemetry.ToBackend))
			if !u.w.Adopt(u.e.Gen, false, &u.handover) {
				t.Error("the way is another session's")
			}
			u.parked.Unlock()
		}
		old.Release()
		w.path = fresh
	}
	for _, u := range streams {
		u.await(200)
		u.check()
	}
}

// The program in the links is replaced under way, and no datagram even goes up.
func TestProgramReplacedUnderFlow(t *testing.T) {
	w := newNetwork(t)
	w.path = w.relay.open(t)
	u := newStream(t, w, 4)
	u.await(200)
	fresh := w.relay.takeOver(t, w.path)
	up := w.path.upOf(t)
	for range 200 {
		for _, p := range []*Path{fresh, w.path} {
			if problems := p.hooks.replace(); len(problems) > 0 {
				t.Fatal(problems)
			}
		}
		u.await(2)
	}
	if now := w.path.upOf(t); now != up {
		t.Errorf("%d datagrams have gone up", now-up)
	}
	u.check()
}

// upOf returns how many datagrams have gone up.
func (p *Path) upOf(t *testing.T) (n uint64) {
	t.Helper()
	all, err := p.Devices()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		for _, up := range d.Up {
			n += up
		}
	}
	return n
}

// A process that takes the sessions over without the path has them in user space, and one
// that resumes enters them again.
func TestEvictUnderFlow(t *testing.T) {
	w := newNetwork(t)
	w.path = w.relay.open(t)
	u := newStream(t, w, 4)
	u.await(200)
	for range 5 {
		w.path.Freeze()
		u.parked.Lock()
		if err := Evict(w.path.Files()); err != nil {
			t.Fatal(err)
		}
		u.w.SetOff()
		u.parked.Unlock()
		at := u.received.Load()
		for end := time.Now().Add(20 * time.Second); u.received.Load()-at < 200; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("user space relays nothing")
			}
		}
		u.parked.Lock()
		w.path.Unfreeze()
		w.path.Shard(0).Leave(&u.e)
		w.relay.do(t, func() error {
			_, err := w.path.hooks.refresh()
			return err
		})
		if err := w.path.Shard(0).Enter(&u.e); err != nil {
			t.Fatal(err)
		}
		u.parked.Unlock()
		u.await(200)
	}
	u.check()
}
