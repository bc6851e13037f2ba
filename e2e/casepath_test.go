//go:build linux

package e2e

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

var loopback6 = netip.AddrPortFrom(netip.IPv6Loopback(), 0)

func needIPv6(t *testing.T) {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(loopback6))
	if err != nil {
		need.Skip(t, "this host has no IPv6 loopback")
	}
	_ = conn.Close()
}

// All 16 bytes of the peer IP are rewritten, for both families on both sides.
func TestCase30IPv6Caller(t *testing.T) {
	t.Parallel()
	needIPv6(t)
	for _, at := range []netip.AddrPort{loopback, loopback6} {
		l := startBackend(t, srttest.ListenerConfig{Local: at, Mode: srttest.Echo})
		r := startRelay(t, "--listen=[::1]:0", backendAt(l.Addr()))
		s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "live/x"})
		echo(t, s, 10)
		if got := s.Seen().PeerIP; got != netip.IPv6Loopback() {
			t.Errorf("backend %v: the caller is told its address is %v", at, got)
		}
		if c, _ := connectionOf(t, s, l); c.PeerIP != at.Addr() {
			t.Errorf("backend %v: is told its address is %v", at, c.PeerIP)
		}
		must(t, s.SendShutdown())
	}
}

// A libsrt caller ignores what does not come from the address it dialled.
func TestCase31WildcardAnswersFromDialledAddress(t *testing.T) {
	t.Parallel()
	needIPv6(t)
	l := startEcho(t)
	for listen, dialled := range map[string][]string{
		"0.0.0.0:0": {"127.0.0.1", "127.0.0.2", "127.9.8.7"},
		"[::]:0":    {"::1", "127.0.0.1", "127.0.0.2"},
	} {
		r := startRelay(t, "--listen="+listen, backendAt(l.Addr()))
		for _, ip := range dialled {
			to := netip.AddrPortFrom(netip.MustParseAddr(ip), r.addr.Port())
			s := mustDial(t, to, srttest.CallerOptions{})
			echo(t, s, 10)
			if seen := s.Seen(); seen.Foreign != 0 {
				t.Errorf("%s at %s: %d datagrams from another address", ip, listen, seen.Foreign)
			}
		}
	}
}

// A stored CONCLUSION and a stored response bear the time at which they are
// sent again: the receiver derives the sender's clock from it.
func TestCase32TimestampsAdvance(t *testing.T) {
	t.Parallel()
	// A reader that is slow to note an arrival makes the time look longer.
	const late = 200 * time.Millisecond
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	l.SilentConclusion(true)
	s := manual(t, r.addr, srttest.CallerOptions{RecvBuffer: 16})
	must(t, s.ResendConclusion())
	conclusions := func() (all []srttest.Handshake) {
		for _, h := range l.Handshakes() {
			if h.Packet.Type() == wire.HandshakeConclusion {
				all = append(all, h)
			}
		}
		return all
	}
	await(t, l, "second copy of the backend leg", func() bool { return len(conclusions()) >= 3 })
	l.SilentConclusion(false)
	first, second := conclusions()[0], conclusions()[2] // 500 ms apart
	grown := stamp(second.Packet) - stamp(first.Packet)
	if passed := second.At.Sub(first.At); grown < 450*time.Millisecond || grown > passed+late {
		t.Errorf("re-sent CONCLUSION: timestamp grew by %v in %v", grown, passed)
	}
	await(t, s, "response", func() bool { return s.Seen().Responses == 1 })
	time.Sleep(500 * time.Millisecond) // the age of the stored response is the input
	asked := time.Now()
	must(t, s.ResendConclusion())
	var replay []byte
	select {
	case replay = <-s.Recv():
	case <-patiently(t).Done():
		t.Fatal("no replay")
	}
	seen := s.Seen()
	grown = stamp(replay) - stamp(seen.Response)
	if least := asked.Sub(seen.ResponseAt) - late; grown < least || grown > time.Since(seen.ResponseAt)+late {
		t.Errorf("replayed response: timestamp grew by %v, asked after %v", grown, asked.Sub(seen.ResponseAt))
	}
	wire.Packet(replay).SetTimestamp(wire.Packet(seen.Response).Timestamp())
	if !bytes.Equal(replay, seen.Response) {
		t.Errorf("replay\n%x\ndiffers from the response\n%x", replay, seen.Response)
	}
}

func stamp(b []byte) time.Duration {
	return time.Duration(wire.Packet(b).Timestamp()) * time.Microsecond
}

// A gosrt caller sends everything once, and its connection breaks if it gets a response
// twice. The path to the backend repeats and reorders all handshakes, and the path from the
// caller repeats them, also long after they were answered.
func TestCase29GosrtCallerSurvives(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	l.EchoKeepalives(true)
	l.AdvertiseKeyLen(16)
	upstream := startLink(t, l.Addr(), disturbHandshakes())
	r := startRelay(t, backendAt(upstream.Addr()))
	copies := make(chan []byte, 16)
	downstream := startLink(t, r.addr, repeatRequests(copies))
	var sessions []*srttest.Session
	for _, keyLen := range []int{0, 16, srttest.KeyLenAuto} {
		s := mustDial(t, downstream.Addr(), srttest.CallerOptions{
			Style: srttest.Gosrt, KeyLen: keyLen, StreamID: "#!::r=live/x,m=publish", Timeout: patience,
		})
		echo(t, s, 1)
		sessions = append(sessions, s)
	}
	downstream.SetHook(nil)
	for range 2 * len(sessions) { // an INDUCTION and a CONCLUSION of each
		b := <-copies
		for _, s := range sessions {
			if wire.Handshake(b).SocketID() == s.ID() {
				must(t, s.SendRaw(b))
			}
		}
	}
	over := time.After(10 * time.Second) // twice gosrt's idle timeout, which a phantom would run into
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for alive := true; alive; {
		select {
		case <-over:
			alive = false
		case <-tick.C:
			for _, s := range sessions {
				must(t, s.SendData(make([]byte, 1316)))
				must(t, s.SendKeepalive())
			}
		}
	}
	for i, s := range sessions {
		await(t, s, "all data back", func() bool { return s.Counters().Received == s.Counters().Sent || s.Err() != nil })
		if seen := s.Seen(); s.Err() != nil || seen.Responses != 1 || seen.InductionReplies != 1 {
			t.Errorf("session %d: %v after %d INDUCTION replies and %d responses", i, s.Err(), seen.InductionReplies, seen.Responses)
		}
	}
	if n := l.Count(); n != len(sessions) {
		t.Errorf("%d backend connections of %d sessions", n, len(sessions))
	}
}

// disturbHandshakes sends handshakes twice, or behind the next datagram of
// their way, which is often their own repetition.
func disturbHandshakes() srttest.Hook {
	var count [2]int
	return func(d srttest.Direction, b []byte) srttest.Action {
		if _, ok := wire.AsHandshake(b); !ok {
			return srttest.Pass
		}
		if count[d]++; count[d]%3 == 0 {
			return srttest.Hold(1)
		}
		return srttest.Duplicate
	}
}

// repeatRequests sends a caller's handshakes twice, and keeps a copy of each.
func repeatRequests(copies chan<- []byte) srttest.Hook {
	return func(d srttest.Direction, b []byte) srttest.Action {
		if _, ok := wire.AsHandshake(b); !ok || d != srttest.Up {
			return srttest.Pass
		}
		copies <- slices.Clone(b)
		return srttest.Duplicate
	}
}

// No byte changes and no datagram changes places, of whatever size.
func TestCase37NothingIsModified(t *testing.T) {
	t.Parallel()
	sizes := []int{16, 1472, 17, 20, 1472, 1472, 44, 16, 1332, 1471, 1472}
	atBackend := make(chan []byte, 4*len(sizes))
	l := startBackend(t, srttest.ListenerConfig{Observe: func(_ netip.AddrPort, b []byte) {
		if wire.Packet(b).DestID() != 0 {
			atBackend <- slices.Clone(b)
		}
	}})
	r := startRelay(t, backendAt(l.Addr()))
	s := mustDial(t, r.addr, srttest.CallerOptions{RecvBuffer: 4 * len(sizes)})
	conn, _ := connectionOf(t, s, l)
	for _, way := range []struct {
		name string
		to   uint32
		send func([]byte) error
		got  <-chan []byte
	}{{"up", s.PeerID(), s.SendRaw, atBackend}, {"down", s.ID(), conn.SendRaw, s.Recv()}} {
		var sent [][]byte
		for i, size := range append(sizes, sizes...) {
			sent = append(sent, randomPacket(size, way.to))
			must(t, way.send(sent[i]))
		}
		for i, want := range sent {
			select {
			case got := <-way.got:
				if !bytes.Equal(got, want) {
					t.Errorf("%s %d: got %d bytes\n%x\nwant %d bytes\n%x", way.name, i, len(got), got, len(want), want)
				}
			case <-patiently(t).Done():
				t.Fatalf("%s: packet %d of %d bytes is missing", way.name, i, len(want))
			}
		}
	}
}

// randomPacket is noise behind an ACKACK's header (of 16 bytes, as gosrt
// sends it) or that of a data packet.
func randomPacket(size int, to uint32) []byte {
	b := make([]byte, size)
	for k := range b {
		b[k] = byte(rand.Uint32())
	}
	b[0] &= 0x7F
	if size < 64 {
		wire.PutControl(b, wire.TypeACKACK, rand.Uint32(), to)
	}
	wire.Packet(b).SetDestID(to)
	return b
}
