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
	relay *relay // that has its session
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
			tour := n.start(o, n.watch(n.far, "veth0", farAddr), r.addr)
			tour.move("another port", natAddrs[0], 20_001)
			tour.move("another address", natAddrs[1], 30_001)
			tour.end()
		})
	}
}

// tour is real streams whose callers move.
type tour struct {
	*natBox
	o       *origin
	callers []*roaming
	moves   int
	streams map[string]*stream
	players map[string][]func() []byte // what each player of a stream has got
	flows   sync.WaitGroup
	done    chan struct{}
}

// start connects two players and a publisher of libsrt and two players and a publisher of gosrt
// to the relays' address, and has media flow to the origin.
func (n *natBox) start(o *origin, toFar *arrivals, to netip.AddrPort) *tour {
	n.t.Helper()
	const players = 2
	toHome := n.watch(n.box, "home", homeAddr)
	u := &tour{natBox: n, o: o, streams: map[string]*stream{}, players: map[string][]func() []byte{"live/libsrt": nil, "live/gosrt": nil}, done: make(chan struct{})}
	url := func(resource, role string) string {
		return srtURL(to, "#!::r="+resource+",m="+role, "passphrase="+passphrase, "pbkeylen=32",
			fmt.Sprintf("latency=%d", latencyOf(role).Milliseconds()))
	}
	for resource := range u.players {
		p := n.transmit(url(resource, "request"), "file://con")
		u.players[resource] = append(u.players[resource], p.stdout.bytes, n.gosrtPlayer(to, resource))
	}
	n.relays.awaitSum("all players", "established", players*uint64(len(u.players)))

	pub := n.transmit("file://con", url("live/libsrt", "publish"))
	if !pub.stderr.await(patience, func(b []byte) bool { return bytes.Contains(b, []byte("SRT target connected")) }) {
		n.t.Fatalf("the publisher did not connect:\n%s", pub.stderr.bytes())
	}
	pubs := map[string]*program{"live/libsrt": pub, "live/gosrt": {stdin: n.gosrtDial(to, "live/gosrt", "publish")}}
	n.relays.awaitSum("all publishers", "established", (players+1)*uint64(len(u.players)))
	u.callers = n.roaming(toFar, toHome)

	for i, resource := range []string{"live/libsrt", "live/gosrt"} {
		s := &stream{
			pub:      pubs[resource],
			received: func() int { return o.size(resource) }, content: func() []byte { return o.received(resource) },
		}
		u.streams[resource] = s
		u.flows.Go(func() {
			if err := s.flowUntil(u.done, uint64(i)); err != nil {
				n.t.Errorf("%s: %v", resource, err)
			}
		})
	}
	// A session must have been established for a second before it may move.
	n.media(u.callers, messagesPerSecond*5/4)
	return u
}

// end checks that all has arrived, and that nobody has noticed a move.
func (u *tour) end() {
	u.t.Helper()
	close(u.done)
	u.flows.Wait()
	for resource, contents := range u.players {
		for _, content := range contents {
			u.streams[resource].played(u.t, resource, content)
		}
	}
	u.unnoticed()
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
	eventually(func() bool { return len(content()) >= most })
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
func (n *natBox) gosrtDial(to netip.AddrPort, resource, role string) (conn srt.Conn) {
	n.t.Helper()
	config := gosrtConfig(passphrase)
	config.ReceiverLatency, config.PeerLatency = latencyOf(role), latencyOf(role)
	config.PBKeylen = 32
	config.StreamId = fmt.Sprintf("#!::r=%s,m=%s", resource, role)
	must(n.t, n.home.Do(func() (err error) {
		conn, err = srt.Dial("srt", to.String(), config)
		return err
	}))
	n.t.Cleanup(func() { _ = conn.Close() })
	n.gosrt[netip.MustParseAddrPort(conn.LocalAddr().String()).Port()] = true
	return conn
}

// gosrtPlayer plays a resource by gosrt, and returns what gives the content so far.
func (n *natBox) gosrtPlayer(to netip.AddrPort, resource string) func() []byte {
	n.t.Helper()
	conn, content := n.gosrtDial(to, resource, "request"), new(capture)
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
func (n *natBox) roaming(toFar, toHome *arrivals) (callers []*roaming) {
	n.t.Helper()
	for _, r := range n.relays {
		for _, s := range r.natSessions() {
			library := "libsrt"
			if n.gosrt[s.Caller.Port()] {
				library = "gosrt"
			}
			c := &roaming{
				name: fmt.Sprintf("%s, %s of %s", library, s.Role, s.Stream), relay: r,
				port: s.Caller.Port(), id: s.ID, media: s.BackendSocketID, seen: toFar,
			}
			if s.Role == "player" {
				c.media, c.seen = s.CallerSocketID, toHome
			}
			callers = append(callers, c)
		}
	}
	return callers
}

// media waits for so many more datagrams of everybody's media.
func (n *natBox) media(callers []*roaming, more int) {
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

// move gives all callers other bindings, port after port, waits until all sessions have
// migrated, and lets media flow for a while.
func (u *tour) move(what string, to netip.Addr, port uint16) {
	u.t.Helper()
	u.moves++
	bindings := map[uint16]netip.AddrPort{}
	for i, c := range u.callers {
		bindings[c.port] = netip.AddrPortFrom(to, port+uint16(i))
	}
	at := u.bind(bindings)
	u.relays.await(what+": all sessions at their new addresses", func() bool {
		var moved []string
		for _, r := range u.relays {
			for _, s := range r.natSessions() {
				for _, c := range u.callers {
					if c.relay == r && c.id == s.ID && s.Caller == bindings[c.port] && s.Migrations == u.moves {
						moved = append(moved, c.name)
					}
				}
			}
		}
		return len(moved) == len(u.callers)
	})
	u.media(u.callers, 10)
	u.t.Logf("%s: %d candidates, %d challenges", what, u.relays.sum("migration_candidates"), u.relays.sum("migration_challenges"))
	for _, c := range u.callers {
		u.t.Logf("%s: %s: %d ms without media", what, c.name, c.seen.gap(c.media, at).Milliseconds())
	}
	u.media(u.callers, messagesPerSecond/2)
}

// unnoticed checks that everybody has the sessions of the beginning.
func (u *tour) unnoticed() {
	u.t.Helper()
	established, migrations := u.relays.sum("established"), u.relays.sum("migrations")
	if want := len(u.callers); established != uint64(want) || migrations != uint64(u.moves*want) {
		u.t.Errorf("%d sessions and %d migrations, want %d and %d", established, migrations, want, u.moves*want)
	}
	if got := len(u.relays.log("session migrated")); got != u.moves*len(u.callers) {
		u.t.Errorf("%d events of migrations, want %d", got, u.moves*len(u.callers))
	}
	if begun, ended := len(u.relays.log("session begun")), len(u.relays.log("session ended")); begun != len(u.callers) || ended != 0 {
		u.t.Errorf("%d sessions begun and %d ended", begun, ended)
	}
	if accepted, closed := len(u.o.lines("accepted")), len(u.o.lines("closed")); accepted != len(u.callers) || closed != 0 {
		u.t.Errorf("the origin accepted %d and closed %d", accepted, closed)
	}
	for _, c := range u.callers {
		c.seen.mu.Lock()
		if len(c.seen.ports[c.media]) != 1 {
			u.t.Errorf("%s: its media came from ports %v", c.name, c.seen.ports[c.media])
		}
		c.seen.mu.Unlock()
	}
}
