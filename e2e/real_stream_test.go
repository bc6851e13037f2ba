//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"srtrelay/internal/freeaddr"
	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// bad is the path of the issue: 5 % of the datagrams lost, as many sent twice
// and as many out of order.
var bad = srttest.Impairment{Loss: 0.05, Duplicate: 0.05, Reorder: 0.05}

const (
	// repairMS is a latency in ms that gives a lost datagram many chances, also
	// where a busy machine makes round trips of 100 ms on the loopback: SRT asks
	// for it again after RTT + 4 RTTVar, and each try fails with 10 %.
	repairMS   = "4000"
	repairable = "latency=" + repairMS
	passphrase = "correct-horse-battery"
	// messagesPerSecond makes about 2 Mbit/s.
	messagesPerSecond = 190
)

// stream is one publisher's way through a relay.
type stream struct {
	name     string
	keyLen   int
	pub      *program
	relay    *relay
	sent     []byte
	received func() (n int) // bytes, so far
	content  func() []byte
	broken   *srttest.Link // the bad path, if there is one
}

// streamTest runs streams side by side: they mostly wait.
type streamTest struct {
	t       *testing.T
	lasting time.Duration
	args    []string // of all relays
	streams []*stream
}

func (st *streamTest) add(s *stream) {
	s.sent = noise(uint64(len(st.streams)), int(st.lasting.Seconds()*messagesPerSecond))
	st.streams = append(st.streams, s)
}

// startRelay starts a relay in front of one backend, whose counters are logged if the test
// fails.
func (st *streamTest) startRelay(backend netip.AddrPort) *relay {
	r := startRelay(st.t, append(st.args, backendAt(backend))...)
	st.t.Cleanup(func() {
		if st.t.Failed() {
			st.t.Logf("relay %v in front of %v:\n%s", r.addr, backend, r.tail())
		}
	})
	return r
}

// callerOptions are those of a caller that has a passphrase and no opinion on
// its key: it must learn the backend's key length through the relay.
func callerOptions(keyLen int) []string {
	if keyLen == 0 {
		return []string{repairable}
	}
	return []string{repairable, "passphrase=" + passphrase}
}

// toOrigin adds two streams to one origin, over a clean path and over a bad
// one between the caller and the relay.
func (st *streamTest) toOrigin(keyLen int) {
	flags := []string{"-l", repairMS}
	if keyLen > 0 {
		flags = append(flags, "-p", passphrase, "-k", fmt.Sprint(keyLen))
	}
	o := startOrigin(st.t, "127.0.0.1", flags...)
	r := st.startRelay(o.addr)
	link := startLink(st.t, r.addr, nil)
	link.Impair(srttest.Up, bad)
	link.Impair(srttest.Down, bad)
	for name, to := range map[string]*srttest.Link{"clean": nil, "caller": link} {
		s := &stream{name: fmt.Sprintf("%s/aes=%d", name, keyLen*8), keyLen: keyLen, relay: r, broken: to}
		resource := "live/" + name
		at := r.addr
		if to != nil {
			at = to.Addr()
		}
		s.pub = livePublish(st.t, at, resource, callerOptions(keyLen)...)
		s.received = func() int { return o.size(resource) }
		s.content = func() []byte { return o.received(resource) }
		st.add(s)
		accepted := o.awaitLine("accepted", func(l map[string]string) bool { return l["resource"] == resource })
		if keyLen > 0 && count(accepted, "keylen") != keyLen {
			st.t.Errorf("%s: the origin got a key of %s bytes, it asks for %d", s.name, accepted["keylen"], keyLen)
		}
	}
}

// toListener adds a stream to an srt-live-transmit over a bad path between the
// relay and the backend, on which the CONCLUSIONs are looked at.
func (st *streamTest) toListener(keyLen int) {
	at := freeaddr.New()
	source := fmt.Sprintf("srt://%v?mode=listener&transtype=live&%s", at, repairable)
	if keyLen > 0 {
		source += fmt.Sprintf("&passphrase=%s&pbkeylen=%d", passphrase, keyLen)
	}
	sink := liveTransmit(st.t, source, "file://con")
	var onWire atomic.Int64
	onWire.Store(-1)
	link := startLink(st.t, at, func(dir srttest.Direction, b []byte) srttest.Action {
		if n, ok := offeredKey(b); dir == srttest.Up && ok {
			onWire.Store(int64(n))
		}
		return srttest.Pass
	})
	r := st.startRelay(link.Addr())
	r.awaitLog("backend alive", func(logLine) bool { return true })
	link.Impair(srttest.Up, bad)
	link.Impair(srttest.Down, bad)
	s := &stream{name: fmt.Sprintf("backend/aes=%d", keyLen*8), keyLen: keyLen, relay: r, broken: link}
	s.pub = livePublish(st.t, r.addr, "live/backend", callerOptions(keyLen)...)
	if got := onWire.Load(); got != int64(keyLen) {
		st.t.Errorf("%s: the CONCLUSION to the backend holds a key of %d bytes, want %d", s.name, got, keyLen)
	}
	s.received, s.content = sink.stdout.size, sink.stdout.bytes
	st.add(s)
}

// offeredKey returns the length of the key in a CONCLUSION with extensions, 0
// if it has none.
func offeredKey(b []byte) (n int, ok bool) {
	h, ok := wire.AsHandshake(b)
	if !ok || h.Type() != wire.HandshakeConclusion {
		return 0, false
	}
	for block := range h.Blocks {
		if block.Type == wire.BlockKMReq && len(block.Content) > 15 {
			n = 4 * int(block.Content[15])
		}
	}
	return n, true
}

// run feeds all publishers and checks what arrives.
func (st *streamTest) run() {
	var all sync.WaitGroup
	for _, s := range st.streams {
		all.Go(func() {
			if err := s.flow(st.lasting); err != nil {
				st.t.Errorf("%s: %v\nrelay: %v", s.name, err, s.relay.stats())
			}
		})
	}
	all.Wait()
	for _, s := range st.streams {
		s.pub.stop()
		st.checkPath(s)
	}
}

// flow feeds the publisher until all has arrived. More follows what counts: a
// loss is noticed by what comes after it, so that in live mode SRT does not
// repair the last datagram of a stream.
func (s *stream) flow(lasting time.Duration) error {
	if err := s.pub.feed(s.sent, lasting); err != nil {
		return err
	}
	return s.arrive()
}

// arrive feeds the publisher until all that it had so far has arrived.
func (s *stream) arrive() error {
	n := len(s.sent)
	for deadline := time.Now().Add(patience); s.received() < n && time.Now().Before(deadline); {
		more := noise(uint64(len(s.sent)), 10)
		if err := s.pub.feed(more, 100*time.Millisecond); err != nil {
			return err
		}
		s.sent = append(s.sent, more...)
	}
	if got := s.content(); len(got) < n || !bytes.HasPrefix(s.sent, got) {
		return errors.New(differ(s.sent, got))
	}
	return nil
}

// checkPath makes sure that a bad path was bad.
func (st *streamTest) checkPath(s *stream) {
	if s.broken == nil {
		return
	}
	for _, dir := range []srttest.Direction{srttest.Up, srttest.Down} {
		if c := s.broken.Stats(dir); c.Lost == 0 || c.Duplicated == 0 || c.Reordered == 0 || c.Overflowed+c.Failed > 0 {
			st.t.Errorf("%s: the path %v did not do its worst: %+v", s.name, dir, c)
		}
	}
}

// Real streams arrive byte by byte: in the clear, with AES-128 and AES-256,
// through few shards and many, over a clean path and with losses on either
// side of the relay. Nobody's key gets shorter on the way.
func TestRealStreams(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 2, 8} {
		t.Run(fmt.Sprintf("shards=%d", shards), func(t *testing.T) {
			t.Parallel()
			lasting := 20 * time.Second
			if testing.Short() {
				if shards != 2 {
					t.Skip("one number of shards is enough for a short run")
				}
				lasting = 3 * time.Second
			}
			st := &streamTest{t: t, lasting: lasting, args: []string{"--shards", fmt.Sprint(shards)}}
			for _, keyLen := range []int{0, 16, 32} {
				st.toOrigin(keyLen)
				st.toListener(keyLen)
			}
			st.run()
		})
	}
}

// The same without the kernel's help: every datagram for itself.
func TestRealStreamsWithoutOffload(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("with offload is enough for a short run")
	}
	st := &streamTest{t: t, lasting: 8 * time.Second, args: []string{"--shards", "2", "--gso", "off", "--gro", "off"}}
	st.toOrigin(32)
	st.toListener(0)
	st.run()
}
