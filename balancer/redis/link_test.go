package redis

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// link is a TCP proxy in front of a server: the network between a relay and
// its Redis.
type link struct {
	listener net.Listener
	to       string
	read     atomic.Int64 // bytes of answers
	stall    atomic.Pointer[stall]
	nonsense atomic.Pointer[string] // in place of answers

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
	all   sync.WaitGroup
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	l := &link{to: to, conns: map[net.Conn]struct{}{}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l.listener = listener
	l.all.Go(func() {
		for {
			c, err := l.listener.Accept()
			if err != nil {
				return
			}
			l.all.Go(func() { l.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.listener.Close()
		l.set(true)
		l.all.Wait()
	})
	return l
}

func (l *link) addr() string { return l.listener.Addr().String() }

// set cuts the link, or makes it whole.
func (l *link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for c := range l.conns {
		_ = c.Close()
	}
	clear(l.conns)
}

// stall is a time in which no answer arrives.
type stall struct {
	left     atomic.Int64 // bytes of answers until it begins
	released chan struct{}
}

// stallAfter passes n more bytes of answers on, and the rest when release is called.
func (l *link) stallAfter(t *testing.T, n int) (release func()) {
	s := &stall{released: make(chan struct{})}
	s.left.Store(int64(n))
	l.stall.Store(s)
	release = sync.OnceFunc(func() {
		l.stall.Store(nil)
		close(s.released)
	})
	t.Cleanup(release)
	return release
}

func (l *link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		_ = c.Close()
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

func (l *link) drop(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = c.Close()
	delete(l.conns, c)
}

func (l *link) serve(front net.Conn) {
	if !l.keep(front) {
		return
	}
	defer l.drop(front)
	back, err := net.Dial("tcp", l.to)
	if err != nil || !l.keep(back) {
		return
	}
	defer l.drop(back)
	l.all.Go(func() {
		l.carry(front, back, false)
		_ = back.Close()
	})
	l.carry(back, front, true)
}

// answer passes an answer on, when no stall holds it back.
func (l *link) answer(to net.Conn, text []byte) error {
	l.read.Add(int64(len(text)))
	if other := l.nonsense.Load(); other != nil {
		text = []byte(*other)
	}
	if s := l.stall.Load(); s != nil {
		if over := s.left.Add(-int64(len(text))); over < 0 {
			before := max(len(text)+int(over), 0)
			if _, err := to.Write(text[:before]); err != nil {
				return err
			}
			text = text[before:]
			<-s.released
		}
	}
	_, err := to.Write(text)
	return err
}

func (l *link) carry(from, to net.Conn, answers bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if answers {
			err = l.answer(to, buffer[:n])
		} else {
			_, err = to.Write(buffer[:n])
		}
		if err != nil {
			return
		}
	}
}
