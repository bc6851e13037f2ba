package kernelpath

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/observe/telemetry"
	"srtrelay/wire"
)

// relayed is a user space that relays one session's way to the backend, with real sockets.
type relayed struct {
	front, upstream *net.UDPConn
	e               Session
	w               Way
	handover        Handover
	pending         bool
	since           time.Time
	written         uint32
}

// turn receives what has gone up, sends it on, and offers the way.
func (u *relayed) turn(b []byte) error {
	_ = u.front.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	n, _, err := u.front.ReadFromUDPAddrPort(b)
	if err == nil {
		if u.w.Mode() != On {
			u.handover.Sent(u.w, b[:n])
			if !u.pending {
				u.pending, u.since = true, time.Now()
			}
		}
		_, err = u.upstream.WriteToUDPAddrPort(b[:n], u.e.Backend.Netip())
		u.written++
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	if !u.pending {
		return err
	}
	if u.handover.Complete(u.w) {
		u.w.SetSequence(sequence(0), false)
		u.handover.Offer(u.w)
		u.pending = false
	} else if time.Since(u.since) > time.Second {
		u.handover.Restart(u.w)
		u.since = time.Now()
	}
	return err
}

// Datagrams arrive in order and none is lost while the way is handed over to and fro.
func TestOrderOfRealDatagrams(t *testing.T) {
	w := newNetwork(t)
	w.path = w.relay.open(t)
	for _, family := range []int{4, 6} {
		caller, server := w.listen(w.callers, callerAddresses[family]), w.listen(w.relay, localAddresses[family])
		front, upstream := w.listen(w.relay, frontAddresses[family]), w.listen(w.relay, localAddresses[family])
		u := &relayed{front: front, upstream: upstream, e: Session{
			Place: w.next, Gen: 1, Caller: local(caller), Backend: local(server), Front: local(front),
			Upstream: addr.AddrPort{Port: local(upstream).Port}, CallerID: callerID, BackendID: backendID,
		}}
		w.next++
		s := w.path.Shard(0)
		u.w = s.Way(u.e.Place, int(telemetry.ToBackend))
		s.Reset(u.e.Place, 1)
		if err := s.Enter(&u.e); err != nil {
			t.Fatal(err)
		}
		handOverToAndFro(t, w, u, caller, server)
		s.Leave(&u.e)
	}
}

func handOverToAndFro(t *testing.T, w *network, u *relayed, caller, server *net.UDPConn) {
	t.Helper()
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		b := make([]byte, 2000)
		for {
			select {
			case <-stop:
				return
			default:
				if err := u.turn(b); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	received, arrived := make(chan uint32, 1<<20), atomic.Uint32{}
	all.Go(func() {
		b := make([]byte, 2000)
		for {
			_, _, err := server.ReadFromUDPAddrPort(b)
			if err != nil {
				close(received)
				return
			}
			received <- wire.Packet(b).Sequence()
			arrived.Add(1)
		}
	})
	const switches = 200
	sent := uint32(0)
	send := func(to netip.AddrPort) {
		sent++
		p := dataOf(sent, plain, backendID, 100)
		binary.BigEndian.PutUint32(p[8:], sent)
		if _, err := caller.WriteToUDPAddrPort(p, to); err != nil {
			t.Error(err)
		}
		if sent%16 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	front := u.e.Front.Netip()
	for range switches {
		for deadline := time.Now().Add(10 * time.Second); u.w.Mode() != On; send(front) {
			if time.Now().After(deadline) {
				t.Fatal("the way does not become on")
			}
		}
		for range 20 {
			send(front)
		}
		w.path.pause()
		send(front)
		w.path.resume()
	}
	for i := time.Now(); u.w.Mode() != On && time.Since(i) < 10*time.Second; {
		send(front)
	}
	for end := time.Now().Add(10 * time.Second); arrived.Load() < sent && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	close(stop)
	_ = server.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // for what may come twice
	all.Wait()
	last, n, reordered := uint32(0), uint32(0), 0
	for seq := range received {
		if seq < last {
			reordered++
		}
		last, n = max(last, seq), n+1
	}
	passed := u.w.Passed().Packets
	t.Logf("%d datagrams, %d of them in the kernel, %d reordered", sent, passed, reordered)
	if n != sent || reordered > 0 || passed < switches || passed == sent {
		t.Errorf("%d of %d arrived, %d out of order; %d passed in the kernel", n, sent, reordered, passed)
	}
}
