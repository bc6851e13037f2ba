package redis

import (
	"strings"
	"testing"
	"time"

	"srtrelay/backend"
)

// nonsense are answers of a server that is no Redis, or that has lost its mind.
var nonsense = map[string]string{
	"OK":                "+OK\r\n",
	"a number":          ":1\r\n",
	"nothing":           "$-1\r\n",
	"no list":           "*-1\r\n",
	"an empty list":     "*0\r\n",
	"nested lists":      "*2\r\n*1\r\n*1\r\n:1\r\n+a\r\n",
	"deep lists":        strings.Repeat("*1\r\n", 100_000),
	"another's answer":  "*2\r\n$1\r\n0\r\n*1\r\n$3\r\nkey\r\n",
	"an error":          "-ERR no\r\n",
	"an unknown error":  "-X\r\n",
	"elsewhere":         "-MOVED 1 127.0.0.1:1\r\n",
	"HTTP":              "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
	"bytes":             "\x00\xff\x16\x03\x01\n\r",
	"a half":            "$5\r\nab",
	"a huge text":       "$999999999999999\r\n",
	"the longest text":  "$9223372036854775807\r\n",
	"a huge list":       "*999999999999\r\n",
	"the longest list":  "*9223372036854775807\r\n",
	"lists of lists":    "*1000000\r\n" + strings.Repeat("*1000000\r\n", 1000),
	"a negative length": "$-7\r\n",
	"of another RESP":   "%1\r\n+a\r\n~1\r\n_\r\n",
	"a line":            "+" + strings.Repeat("x", 1<<20),
	"empty lines":       "\r\n\r\n\r\n",
}

// Redis answers nonsense in the midst of its use: it counts as away, costs little, and what is
// known stays.
func TestNonsense(t *testing.T) {
	t.Parallel()
	const servers = 3
	for name, text := range nonsense {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startRedis(t)
			wire := newLink(t, s.addr)
			w := patience
			w.pick, w.sync = time.Second, time.Second
			r := openWaiting(t, w, time.Hour, 0, at(wire.addr())).ready()
			r.foreign(s, servers)
			here := r.publisher(address1)
			wire.nonsense.Store(&text)
			r.away()
			r.stream("k")
			_, _, err := r.Explain(backend.Query{Key: "k"})
			must(t, err)
			here.Begun(sessionKey(1), callerAt(1))
			wire.nonsense.Store(nil)
			wire.set(true) // what is still on its way there is nonsense, too
			wire.set(false)
			r.ready()
			until(t, "the stream to be written", func() bool { return s.Exists(t.Context(), urlPrefix+"k").Val() == 1 })
			until(t, "the session to be written", func() bool { return s.HLen(t.Context(), sessionsPrefix+address1).Val() == 1 })
			if got := len(r.reg.Snapshot().Backends); got != servers {
				t.Errorf("%d servers of %d", got, servers)
			}
		})
	}
}

// The bug: an empty list in place of the orders was a panic.
func TestEmptyListOfOrders(t *testing.T) {
	t.Parallel()
	wire := newLink(t, startRedis(t).addr)
	r := open(t, at(wire.addr())).ready()
	text := "*0\r\n"
	wire.nonsense.Store(&text)
	if _, err := r.readOrders(t.Context()); err == nil {
		t.Error("it was read")
	}
}
