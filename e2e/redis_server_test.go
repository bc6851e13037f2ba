//go:build linux

package e2e

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/clocale"
	"srtrelay/internal/freeaddr"
	"srtrelay/internal/need"
)

// store is a redis-server of the test's own. It keeps nothing on disk.
type store struct {
	t    *testing.T
	addr string
	proc *program
}

// newStore has an address, and no server there before start.
func newStore(t *testing.T) *store {
	t.Helper()
	need.Tool(t, "redis-server")
	return &store{t: t, addr: freeaddr.New().String()}
}

// startStore has a server.
func startStore(t *testing.T) *store {
	t.Helper()
	s := newStore(t)
	s.start()
	return s
}

// start runs the server, which the test's end stops, until it takes connections.
func (s *store) start() {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.addr)
	s.proc = startProgram(s.t, need.Tool(s.t, "redis-server"), "--port", port, "--bind", host,
		"--save", "", "--appendonly", "no", "--dir", s.t.TempDir())
	ready := func(b []byte) bool { return bytes.Contains(b, []byte("Ready to accept")) }
	if !s.proc.stdout.await(patience, ready) {
		s.t.Fatalf("redis-server does not start:\n%s", s.proc.stdout.bytes())
	}
}

// signal sends the server a signal.
func (s *store) signal(sig syscall.Signal) {
	s.t.Helper()
	must(s.t, s.proc.cmd.Process.Signal(sig))
}

// kill ends the server without a goodbye.
func (s *store) kill() {
	s.t.Helper()
	s.signal(syscall.SIGKILL)
	<-s.proc.done
}

// ask runs one command, as an operator would.
func (s *store) ask(command ...string) string {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.addr)
	out, err := clocale.Command(need.Tool(s.t, "redis-cli"), append([]string{"-h", host, "-p", port}, command...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("redis-cli %q: %v %s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

// at are the flags of a relay that keeps its state there.
func (s *store) at() []string {
	return []string{"--state", "redis", "--redis", "redis://" + s.addr + "/0"}
}

// readiness is what /ready says.
func (r *relay) readiness() (status int, text string) {
	r.t.Helper()
	return r.call(http.MethodGet, "/ready", "")
}

// awaitReadiness waits for a status and a word of /ready.
func (r *relay) awaitReadiness(want int, word string) {
	r.t.Helper()
	var (
		status int
		text   string
	)
	if !eventually(func() bool {
		status, text = r.readiness()
		return status == want && strings.Contains(text, word)
	}) {
		r.t.Fatalf("/ready: %d %s, want %d and %q\n%s", status, text, want, word, r.tail())
	}
}

// awaitShared waits until the relay uses its store for the n-th time.
func (r *relay) awaitShared(n int) {
	r.t.Helper()
	r.awaitLog("shared state in use", func(logLine) bool { return len(r.log("shared state in use")) >= n })
}

// awaitInUse waits until the relay uses its store, after an outage that it has noticed. The log
// does not tell of every outage: a busy machine may make one more.
func (r *relay) awaitInUse() {
	r.t.Helper()
	var (
		status int
		text   string
	)
	if !eventually(func() bool {
		status, text = r.readiness()
		return status == http.StatusOK && !strings.Contains(text, "away")
	}) {
		r.t.Fatalf("/ready: %d %s\n%s", status, text, r.tail())
	}
}

// delayLine passes TCP connections on, every piece later by a time that can
// change.
type delayLine struct {
	listener net.Listener
	target   string
	by       atomic.Int64
	ended    chan struct{}
	pipes    sync.WaitGroup
}

func startDelayLine(t *testing.T, target string) *delayLine {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	d := &delayLine{listener: l, target: target, ended: make(chan struct{})}
	d.pipes.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.pipes.Go(func() { d.join(c) })
		}
	})
	t.Cleanup(func() {
		close(d.ended)
		l.Close()
		d.pipes.Wait()
	})
	return d
}

// join passes both directions on until one end closes, or the test ends.
func (d *delayLine) join(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", d.target)
	if err != nil {
		return
	}
	defer far.Close()
	over := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		d.pipes.Go(func() {
			d.pass(way[0], way[1])
			over <- struct{}{}
		})
	}
	select {
	case <-over:
	case <-d.ended:
	}
}

func (d *delayLine) pass(from io.Reader, to io.Writer) {
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		if err != nil {
			return
		}
		select {
		case <-time.After(time.Duration(d.by.Load())):
		case <-d.ended:
			return
		}
		if _, err := to.Write(piece[:n]); err != nil {
			return
		}
	}
}
