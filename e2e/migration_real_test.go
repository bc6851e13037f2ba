//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	srt "github.com/datarhei/gosrt"
)

const (
	// migrationLatency repairs what is lost while an address is validated, many times over.
	migrationLatency = 1500 * time.Millisecond
	// silentLatency is that of players. One that gets nothing may send nothing but a KEEPALIVE
	// after a second, by which it is known.
	silentLatency = 2 * migrationLatency
)

// roaming is a caller whose address changes.
type roaming struct {
	name  string
	port  uint16 // its own, behind the NAT box
	id    string // of the session
	media uint32 // socket ID to which its media goes: the backend's or its own
	seen  *arrivals
}

// Real libsrt and gosrt publish and play through a NAT box that gives all of them other ports,
// and later another address: nothing is missing, nobody connects again, and the backend sees
// nothing of it.
func TestRealStreamsMigrate(t *testing.T) {
	for _, shards := range []int{1, 8} {
		t.Run(fmt.Sprintf("shards=%d", shards), func(t *testing.T) {
			t.Parallel()
			n := openNATLab(t)
			o := n.origin("-p", passphrase, "-k", "32", "-l", fmt.Sprint(migrationLatency.Milliseconds()))
			r := n.relay("--shards", fmt.Sprint(shards), backendAt(o.addr))
			r.awaitLog("backend alive", func(logLine) bool { return true })
			toFar, toHome := n.watch(n.far, "veth0", farAddr), n.watch(n.box, "home", homeAddr)

			url := func(resource, role string) string {
				return srtURL(r.addr, "#!::r="+resource+",m="+role, "passphrase="+passphrase, "pbkeylen=32",
					fmt.Sprintf("latency=%d", latencyOf(role).Milliseconds()))
			}
			players := map[string][]func() []byte{"live/libsrt": nil, "live/gosrt": nil}
			for resource := range players {
				p := n.transmit(url(resource, "request"), "file://con")
				players[resource] = append(players[resource], p.stdout.bytes, n.gosrtPlayer(r, resource))
			}
			r.await("all players", func(st stats) bool { return st["established"] == 4 })

			pub := n.transmit("file://con", url("live/libsrt", "publish"))
			if !pub.stderr.await(patience, func(b []byte) bool { return bytes.Contains(b, []byte("SRT target connected")) }) {
				t.Fatalf("the publisher did not connect:\n%s", pub.stderr.bytes())
			}
			pubs := map[string]*program{"live/libsrt": pub, "live/gosrt": {stdin: n.gosrtDial(r, "live/gosrt", "publish")}}
			r.await("all publishers", func(st stats) bool { return st["established"] == 6 })
			callers := n.roaming(r, toFar, toHome)

			var flows sync.WaitGroup
			done := make(chan struct{})
			streams := map[string]*stream{}
			for i, resource := range []string{"live/libsrt", "live/gosrt"} {
				s := &stream{
					relay: r, pub: pubs[resource],
					received: func() int { return o.size(resource) }, content: func() []byte { return o.received(resource) },
				}
				streams[resource] = s
				flows.Go(func() {
					if err := s.flowUntil(done, uint64(i)); err != nil {
						t.Errorf("%s: %v", resource, err)
					}
				})
			}
			// A session must have been established for a second before it may move.
			n.media(callers, messagesPerSecond*5/4)
			n.move(r, callers, "another port", natAddrs[0], 20_001, 1)
			n.media(callers, messagesPerSecond/2)
			n.move(r, callers, "another address", natAddrs[1], 30_001, 2)
			n.media(callers, messagesPerSecond/2)
			close(done)
			flows.Wait()
			for resource, contents := range players {
				for _, content := range contents {
					streams[resource].played(t, resource, content)
				}
			}
			n.unnoticed(r, o, callers)
		})
	}
}

// flowUntil feeds the publisher until done is closed, and then until all has arrived.
func (s *stream) flowUntil(done <-chan struct{}, seed uint64) error {
	for piece := 0; ; piece++ {
		select {
		case <-done:
			return s.arrive()
		default:
		}
		more := noise(seed<<32|uint64(piece), messagesPerSecond/10)
		if err := s.pub.feed(more, 100*time.Millisecond); err != nil {
			return err
		}
		s.sent = append(s.sent, more...)
	}
}

// played checks what a player got of a stream: all of it but the end, which SRT does not repair
// in live mode.
func (s *stream) played(t *testing.T, name string, content func() []byte) {
	t.Helper()
	most := len(s.sent) * 9 / 10
	for deadline := time.Now().Add(patience); len(content()) < most && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond) // gosrt's reader has no event
	}
	if got := content(); len(got) < most || !bytes.HasPrefix(s.sent, got) {
		t.Errorf("player of %s: %s", name, differ(s.sent, got))
	}
}

func latencyOf(role string) time.Duration {
	if role == "request" {
		return silentLatency
	}
	return migrationLatency
}

// gosrtDial connects a gosrt caller on the callers' host.
func (n *natLab) gosrtDial(r *relay, resource, role string) (conn srt.Conn) {
	n.t.Helper()
	config := gosrtConfig(passphrase)
	config.ReceiverLatency, config.PeerLatency = latencyOf(role), latencyOf(role)
	config.PBKeylen = 32
	config.StreamId = fmt.Sprintf("#!::r=%s,m=%s", resource, role)
	must(n.t, n.home.Do(func() (err error) {
		conn, err = srt.Dial("srt", r.addr.String(), config)
		return err
	}))
	n.t.Cleanup(func() { _ = conn.Close() })
	n.gosrt[netip.MustParseAddrPort(conn.LocalAddr().String()).Port()] = true
	return conn
}

// gosrtPlayer plays a resource by gosrt, and returns what gives the content so far.
func (n *natLab) gosrtPlayer(r *relay, resource string) func() []byte {
	n.t.Helper()
	conn, content := n.gosrtDial(r, resource, "request"), newCapture()
	go func() {
		b := make([]byte, 2*messageSize)
		for {
			k, err := conn.Read(b)
			if err != nil {
				return
			}
			_, _ = content.Write(b[:k])
		}
	}()
	return content.bytes
}

// natSession is what these tests read of a session.
type natSession struct {
	ID              string
	Role, Stream    string
	State           string
	Caller          netip.AddrPort
	CallerSocketID  uint32 `json:"caller_socket_id"`
	BackendSocketID uint32 `json:"backend_socket_id"`
	Migrations      int
}

func (r *relay) natSessions() []natSession {
	r.t.Helper()
	var list struct{ Sessions []natSession }
	r.get("/api/v1/sessions", &list)
	return list.Sessions
}

// roaming finds the sessions of all callers.
func (n *natLab) roaming(r *relay, toFar, toHome *arrivals) (callers []*roaming) {
	n.t.Helper()
	for _, s := range r.natSessions() {
		library := "libsrt"
		if n.gosrt[s.Caller.Port()] {
			library = "gosrt"
		}
		c := &roaming{name: fmt.Sprintf("%s, %s of %s", library, s.Role, s.Stream), port: s.Caller.Port(), id: s.ID, media: s.BackendSocketID, seen: toFar}
		if s.Role == "player" {
			c.media, c.seen = s.CallerSocketID, toHome
		}
		callers = append(callers, c)
	}
	return callers
}

// media waits for so many more datagrams of everybody's media.
func (n *natLab) media(callers []*roaming, more int) {
	n.t.Helper()
	for _, seen := range []*arrivals{callers[0].seen, callers[len(callers)-1].seen} {
		var ids []uint32
		for _, c := range callers {
			if c.seen == seen {
				ids = append(ids, c.media)
			}
		}
		seen.awaitMore(n.t, more, ids...)
	}
}

// move gives all callers other bindings, port after port, and waits until all sessions have
// migrated so often.
func (n *natLab) move(r *relay, callers []*roaming, what string, to netip.Addr, port uint16, times int) {
	n.t.Helper()
	bindings, want := map[uint16]netip.AddrPort{}, map[string]netip.AddrPort{}
	for i, c := range callers {
		bindings[c.port] = netip.AddrPortFrom(to, port+uint16(i))
		want[c.id] = bindings[c.port]
	}
	at := n.bind(bindings)
	r.await(what+": all sessions at their new addresses", func(stats) bool {
		all := r.natSessions()
		for _, s := range all {
			if s.Caller != want[s.ID] || s.Migrations != times {
				return false
			}
		}
		return len(all) == len(callers)
	})
	n.media(callers, 10)
	st := r.stats()
	n.t.Logf("%s: %d candidates, %d challenges", what, st["migration_candidates"], st["migration_challenges"])
	for _, c := range callers {
		n.t.Logf("%s: %s: %d ms without media", what, c.name, c.seen.gap(c.media, at).Milliseconds())
	}
}

// unnoticed checks that everybody has the sessions of the beginning.
func (n *natLab) unnoticed(r *relay, o *origin, callers []*roaming) {
	n.t.Helper()
	st := r.stats()
	if st["established"] != uint64(len(callers)) || st["migrations"] != uint64(2*len(callers)) {
		n.t.Errorf("%d sessions and %d migrations, want %d and %d", st["established"], st["migrations"], len(callers), 2*len(callers))
	}
	if got := len(r.log("session migrated")); got != 2*len(callers) {
		n.t.Errorf("%d events of migrations, want %d", got, 2*len(callers))
	}
	if begun, ended := len(r.log("session begun")), len(r.log("session ended")); begun != len(callers) || ended != 0 {
		n.t.Errorf("%d sessions begun and %d ended", begun, ended)
	}
	if accepted, closed := len(o.lines("accepted")), len(o.lines("closed")); accepted != len(callers) || closed != 0 {
		n.t.Errorf("the origin accepted %d and closed %d", accepted, closed)
	}
	for _, c := range callers {
		c.seen.mu.Lock()
		if len(c.seen.ports[c.media]) != 1 {
			n.t.Errorf("%s: its media came from ports %v", c.name, c.seen.ports[c.media])
		}
		c.seen.mu.Unlock()
	}
}
