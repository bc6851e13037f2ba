//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// watched notes the control packets that pass a link in a direction. It is the link's hook,
// and forwards all.
type watched struct {
	dir  srttest.Direction
	mu   sync.Mutex
	seen map[string]int // by shape
}

func watch(dir srttest.Direction) *watched { return &watched{dir: dir, seen: make(map[string]int)} }

// shapeOf is what a control packet is, without timestamp and destination.
func shapeOf(b []byte) string {
	p := wire.Packet(bytes.Clone(b))
	p.SetTimestamp(0)
	p.SetDestID(0)
	return string(p)
}

func (w *watched) hook(dir srttest.Direction, b []byte) srttest.Action {
	if dir == w.dir && len(b) >= wire.HeaderSize && wire.Packet(b).IsControl() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen[shapeOf(b)]++
	}
	return srttest.Pass
}

// passed returns how many packets like this one have passed.
func (w *watched) passed(p wire.Packet) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[shapeOf(p)]
}

// crashing returns how many control packets have passed that are long, or handshakes with a small
// MSS.
func (w *watched) crashing() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for shape, times := range w.seen {
		if h, ok := wire.AsHandshake([]byte(shape)); len(shape) > 1000 || ok && h.MSS() < 100 {
			n += times
		}
	}
	return n
}

// attackerOf connects a publisher that may send what it likes, and has sent data.
func attackerOf(t *testing.T, r *relay) *srttest.Session {
	t.Helper()
	s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/attack,m=publish"})
	sendSome(t, s)
	return s
}

// sendSome sends data packets, and waits until the server has acknowledged them: then the
// relay has seen them.
func sendSome(t *testing.T, s *srttest.Session) {
	t.Helper()
	before := s.Counters().Acks
	for range 20 {
		must(t, s.SendData(make([]byte, messageSize)))
	}
	await(t, s, "ACK", func() bool { return s.Counters().Acks > before })
}

// shielded are the drops of the shield, by reason.
func (r *relay) shielded() stats {
	sum := stats{}
	for _, s := range r.shards() {
		for reason, n := range s.Drops {
			if n > 0 && strings.HasPrefix(reason, "shield_") {
				sum[reason] += n
			}
		}
	}
	return sum
}

// awaitShielded waits until the shield has dropped so many for each reason.
func (r *relay) awaitShielded(want stats) {
	r.t.Helper()
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("dropped %v, want %v", r.shielded(), want)
		}
	})
	r.await("the shield's drops", func(st stats) bool {
		for reason, n := range want {
			if st[reason] < n {
				return false
			}
		}
		return true
	})
	if got := r.shielded(); fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Errorf("dropped %v, want %v", got, want)
	}
}

// Nothing malformed that an established publisher sends reaches a real libsrt of before
// 1.5.6. It lives, the publisher's own session goes on, and so do the streams of others.
func TestShieldBeforeLibsrt(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, "127.0.0.1", "-l", "400")
	w := watch(srttest.Up)
	link := startLink(t, o.addr, w.hook)
	r := startRelay(t, "--shards", "2", backendAt(link.Addr()))
	r.hostile = true
	player := livePlay(t, r, "live/others", "latency=400")
	pub := livePublish(t, r.addr, "live/others", "latency=400")
	fed := make(chan error, 1)
	media := noise(1, 600)
	go func() { fed <- pub.feed(media, 3*time.Second) }()

	s := attackerOf(t, r)
	all := srttest.MalformedControls(s.NextSequence())
	want := stats{}
	const rounds = 3
	for range rounds {
		for _, c := range all {
			must(t, s.SendRaw(c.To(s.PeerID())))
			want["shield_"+c.Kind]++
		}
		sendSome(t, s)
	}
	r.awaitShielded(want)
	for _, c := range all {
		if n := w.passed(c.Packet); n != 0 {
			t.Errorf("%s: %d have reached the server", c.Name, n)
		}
	}
	must(t, <-fed)
	if !player.stdout.awaitSize(patience, len(media)) || !bytes.Equal(player.stdout.bytes(), media) {
		t.Errorf("another stream: %s", differ(media, player.stdout.bytes()))
	}
	select {
	case <-s.Done():
		t.Error("the attacker's own session has ended")
	case <-o.done:
		t.Errorf("the server has ended: %v", o.err)
	default:
	}
	sendSome(t, s)
	t.Logf("%d malformed packets, drops %v", rounds*len(all), r.shielded())
}

// What no peer survives is dropped in both directions, and what peers send passes.
func TestShieldBothWays(t *testing.T) {
	t.Parallel()
	up, down := watch(srttest.Up), watch(srttest.Down)
	backend := startBackend(t, srttest.ListenerConfig{})
	behind := startLink(t, backend.Addr(), up.hook)
	r := startRelay(t, "--shards", "2", backendAt(behind.Addr()))
	r.hostile = true
	before := startLink(t, r.addr, down.hook)
	s := mustDial(t, before.Addr(), srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
	conn, _ := connectionOf(t, s, backend)
	want := stats{}
	for name, way := range map[string]struct {
		peer interface {
			SendRaw([]byte) error
			SendData([]byte) error
			PeerID() uint32
			NextSequence() uint32
		}
		end *watched
	}{"to the backend": {s, up}, "to the caller": {conn, down}} {
		must(t, way.peer.SendData([]byte("what the sequence numbers are compared with")))
		next := way.peer.NextSequence()
		bad := srttest.MalformedControls(next)
		for _, c := range bad {
			must(t, way.peer.SendRaw(c.To(way.peer.PeerID())))
			want["shield_"+c.Kind]++
		}
		r.awaitShielded(want)
		var good []srttest.ControlCase
		for _, c := range srttest.SoundControls(next) {
			// A SHUTDOWN ends the session, and some handshakes end at the relay.
			if !c.Packet.Is(wire.TypeShutdown) && !c.Packet.Is(wire.TypeHandshake) {
				must(t, way.peer.SendRaw(c.To(way.peer.PeerID())))
				good = append(good, c)
			}
		}
		r.await(name+": all that peers send", func(stats) bool {
			return !slices.ContainsFunc(good, func(c srttest.ControlCase) bool { return way.end.passed(c.Packet) == 0 })
		})
		for _, c := range bad {
			if n := way.end.passed(c.Packet); n != 0 {
				t.Errorf("%s: %s: %d have passed", name, c.Name, n)
			}
		}
	}
	if got := r.shielded(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("dropped %v, want %v", got, want)
	}
	must(t, s.SendShutdown())
	r.awaitEmpty()
}

// crashes are packets that end libsrt before 1.5.6, by what the shield drops them as. The
// first two overwrite its stack (CVE-2026-55869), the last one its heap.
var crashes = map[string]struct {
	reason string
	packet func(*srttest.Session, uint32) wire.Packet
}{
	"KMREQ": {"shield_km", func(s *srttest.Session, _ uint32) wire.Packet { return tooLong(s, wire.SubtypeKMReq) }},
	"KMRSP": {"shield_km", func(s *srttest.Session, _ uint32) wire.Packet { return tooLong(s, wire.SubtypeKMRsp) }},
	"small MSS": {"shield_handshake", func(s *srttest.Session, cookie uint32) wire.Packet {
		h := s.Conclusion(cookie)
		h.SetSocketID(s.ID() ^ 1) // another caller's
		h.SetMSS(76)
		return h.Packet()
	}},
}

// tooLong is key material that no buffer has space for.
func tooLong(s *srttest.Session, subtype uint16) wire.Packet {
	p := srttest.ControlOf(wire.TypeUser, subtype, 1352)
	for i := range p[wire.HeaderSize:] {
		p[wire.HeaderSize+i] = 0x41
	}
	p.SetDestID(s.PeerID())
	return p
}

// What ends a server does nothing to one behind the shield. Without it, by a reload, it
// reaches the server. What that does is no part of the test, as Debian mends its libsrt: it
// is logged.
func TestShieldAgainstCrash(t *testing.T) {
	t.Parallel()
	for name, c := range crashes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := startOrigin(t, "127.0.0.1", "-l", "400")
			up := watch(srttest.Up)
			link := startLink(t, o.addr, up.hook)
			file := t.TempDir() + "/relay.yaml"
			must(t, os.WriteFile(file, []byte("shield: on\n"), 0o600))
			r := startRelay(t, "--shards", "1", "--config", file, backendAt(link.Addr()))
			r.hostile = true
			s := attackerOf(t, r)
			send := func() {
				p := c.packet(s, s.Seen().Cookie)
				for range 10 {
					must(t, s.SendRaw(p))
				}
			}
			send()
			r.awaitShielded(stats{c.reason: 10})
			sendSome(t, s) // the server lives
			if n := up.crashing(); n != 0 {
				t.Errorf("%d have reached the server", n)
			}
			must(t, os.WriteFile(file, []byte("shield: off\n"), 0o600))
			if status, answer := r.call(http.MethodPost, "/api/v1/reload", ""); status != http.StatusOK {
				t.Fatalf("%d %s", status, answer)
			}
			send()
			r.await("the packets at the server", func(stats) bool { return up.crashing() > 0 })
			select {
			case <-o.done:
				t.Logf("without the shield the server ends: %v", o.err)
			case <-time.After(time.Second):
				t.Log("without the shield the server lives")
			}
		})
	}
}
