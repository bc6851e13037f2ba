//go:build linux

package sink

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/bench/drive"
	"srtrelay/bench/pace"
	"srtrelay/bench/socket"
	"srtrelay/bench/srt"
	"srtrelay/bench/tally"
	"srtrelay/handshake"
)

const (
	// idleWait is how long the thread sleeps at most when nothing flows; a
	// datagram wakes it.
	idleWait = int64(5 * time.Millisecond)
	// maxBurst is how many datagrams one turn sends at most, so that a late sink
	// still receives.
	maxBurst = 256
	// adjustEvery is how often the clocks are compared.
	adjustEvery = int64(time.Second)
)

// Sink is all ports and sessions. It belongs to the goroutine of Run.
type Sink struct {
	config    Config
	clock     *socket.Clock
	ready     *socket.Ready
	receiver  *socket.Receiver
	fds       []int
	listen    []string
	out       []*socket.Outbox
	table     *table
	streams   streams
	book      *tally.Book
	jar       *handshake.CookieGenerator
	round     pace.Round
	keepalive time.Duration
	begun     int64 // when the sink started
	now       int64 // when this turn began
	adjusted  int64
	flowing   bool // data came or went in the last turn
}

// Run serves until ctx ends or the console says quit.
func Run(ctx context.Context, c Config, in io.Reader, out io.Writer) (err error) {
	addresses, err := c.addresses()
	if err != nil {
		return err
	}
	undo := socket.Quiet()
	defer undo()
	socket.Raise()
	s, err := open(c, addresses)
	if err != nil {
		return fmt.Errorf("sink: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	console := drive.Open(ctx, in, out, c.Duration)
	if console.SelfDriven() {
		fmt.Fprintf(os.Stderr, "sink: %d ports from %s\n", c.Count, c.Listen)
	}
	ended := make(chan error)
	// A goroutine of its own, because a pinned thread ends with it.
	go func() { ended <- s.serve(console) }()
	return <-ended
}

func open(c Config, addresses []netip.AddrPort) (*Sink, error) {
	var secret handshake.Secret
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand, Go 1.24)
	clock := socket.NewClock()
	ready, err := socket.NewReady()
	if err != nil {
		return nil, err
	}
	s := &Sink{
		config: c, clock: clock, ready: ready, receiver: socket.NewReceiver(clock, true, c.GRO),
		table: newTable(mathrand.Uint32(), uint8(c.ACKEvery)), book: tally.NewBook(), jar: handshake.NewCookieGenerator(secret),
		begun: clock.Now(),
	}
	s.now = s.begun
	s.setKeepalive(c.Keepalive)
	for i, a := range addresses {
		fd, err := socket.Open(socket.Options{Local: a, Buffer: c.Buffer, GRO: c.GRO})
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.fds = append(s.fds, fd)
		s.out = append(s.out, s.outbox(fd))
		local, err := socket.Local(fd)
		if err := errors.Join(err, ready.Add(fd, i)); err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.listen = append(s.listen, local.String())
	}
	return s, nil
}

func (s *Sink) outbox(fd int) *socket.Outbox {
	o := socket.NewOutbox(fd, s.clock, srt.SentOffset)
	o.OnLag(s.book.Lag)
	return o
}

func (s *Sink) close() error {
	err := s.ready.Close()
	for _, fd := range s.fds {
		err = errors.Join(err, unix.Close(fd))
	}
	return err
}

func (s *Sink) setKeepalive(d time.Duration) {
	s.keepalive = d
	s.round = pace.NewRound(int64(d), s.now)
}

// serve is the loop.
func (s *Sink) serve(console *drive.Console) error {
	if err := socket.Thread(s.config.CPU); err != nil {
		return fmt.Errorf("sink: %w", err)
	}
	if err := console.Ready(s.clock.Now(), s); err != nil {
		return fmt.Errorf("sink: %w", err)
	}
	for {
		now := s.clock.Now()
		done, err := console.Turn(now, s)
		if err != nil {
			return fmt.Errorf("sink: %w", err)
		}
		if done {
			return nil
		}
		s.turn(now)
		s.wait()
	}
}

// turn does everything that is due, once.
func (s *Sink) turn(now int64) {
	s.now = now
	if now-s.adjusted > adjustEvery {
		s.clock.Adjust()
		s.adjusted = now
	}
	before := s.book.Received.Counts[tally.Data]
	s.streams.refresh(s.table, now)
	sent := s.stream()
	for port, fd := range s.fds {
		s.receiveFrom(port, fd)
	}
	s.sendKeepalives()
	for _, o := range s.out {
		o.Flush()
		s.book.Unsent += o.TakeUnsent()
	}
	s.flowing = sent > 0 || s.book.Received.Counts[tally.Data] != before
}

// wait waits for the next tick while data flows, because polling costs less than a wake-up
// for each datagram. Otherwise it waits for the next datagram, as libsrt always does.
func (s *Sink) wait() {
	next := s.now + int64(s.config.Tick)
	switch {
	case s.config.Singly && s.streams.running:
		s.ready.Wait(next - s.clock.Now())
		return
	case s.config.Singly:
		s.ready.Wait(idleWait)
		return
	case s.flowing || s.streams.running:
		socket.Pause(s.clock, next)
		return
	}
	s.ready.Wait(idleWait)
}

// stream sends the data that is due to players.
func (s *Sink) stream() (sent int) {
	for i := range s.streams.classes {
		c := &s.streams.classes[i]
		for sent < maxBurst {
			member, due, ok := c.plan.Next(s.now)
			if !ok {
				break
			}
			index := c.members[member]
			if ss := s.table.at(int(index)); ss.open && ss.play {
				s.push(ss, index, due)
			}
			sent++
		}
	}
	return sent
}

// receiveFrom handles what has arrived at a port.
func (s *Sink) receiveFrom(port, fd int) {
	receive, most := s.receiver.Receive, socket.ReceiveMessages
	if s.config.Singly {
		receive, most = s.receiver.ReceiveOne, 1
	}
	for {
		n := receive(fd)
		if n == 0 {
			return
		}
		now := s.clock.Now()
		for i := range n {
			b, stride, at := s.receiver.Message(i)
			if at == 0 {
				at = now
			}
			for from := s.receiver.From(i); len(b) > 0; {
				size := min(stride, len(b))
				s.handle(port, arrival{b[:size], at, from})
				b = b[size:]
			}
		}
		if n < most {
			return
		}
	}
}

// sendKeepalives sends keepalives where nothing else was sent, and forgets sessions of
// which nothing was received.
func (s *Sink) sendKeepalives() {
	patience := max(int64(s.config.Idle), 4*int64(s.keepalive))
	first, last := s.round.Visit(s.now, s.table.used)
	for i := first; i < last; i++ {
		ss := s.table.at(i)
		switch {
		case !ss.open:
		case s.now-ss.lastReceived > patience:
			s.forget(ss)
		case !ss.sent:
			s.reply(ss, tally.Keepalive, srt.PutKeepalive(s.next(ss), ss.peer, s.timestamp()))
			ss.sent = false
		default:
			ss.sent = false
		}
	}
}

// Start begins the streams to players.
func (s *Sink) Start(now int64) error {
	s.streams.start(s.table, now)
	return nil
}

// Mark begins the measured window.
func (s *Sink) Mark(now int64) { s.book.Mark(now) }

// Stop ends the streams and the window.
func (s *Sink) Stop(now int64) {
	s.streams.stop()
	s.book.Finish(now)
}

// Arrivals counts what the traffic consists of.
func (s *Sink) Arrivals() uint64 { return s.book.Received.Traffic() }

// Report returns what was counted.
func (s *Sink) Report() (tally.Report, error) {
	r, err := s.book.Report()
	r.Role, r.Sessions, r.Listen = "sink", s.table.open, s.listen
	return r, err
}
