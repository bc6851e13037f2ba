//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"srtrelay/bench/drive"
	"srtrelay/bench/pace"
	"srtrelay/bench/socket"
	"srtrelay/bench/srt"
	"srtrelay/bench/tally"
)

const (
	// idleWait is how long the thread sleeps at most when nothing is due; a
	// datagram wakes it.
	idleWait = int64(time.Millisecond)
	// maxBurst is how many datagrams one turn sends at most, so that a late load
	// still receives.
	maxBurst = 256
	// firstID and idRange keep socket IDs below 2^30, as those of libsrt.
	firstID, idRange = 1 << 20, 1 << 29
	// adjustEvery is how often the clocks are compared.
	adjustEvery = int64(time.Second)
	// spareFiles is how many files a process needs besides its ports.
	spareFiles = 32
	bufferSize = 2048
)

// port is a UDP port of callers.
type port struct {
	fd   int
	peer netip.AddrPort
	head socket.Head // of frames, if there is a path
}

// Load is all callers. Only the goroutine of Run uses it.
type Load struct {
	config     Config
	clock      *socket.Clock
	ready      *socket.Ready
	receiver   *socket.Receiver
	ports      []port
	sessions   []session
	publishers []uint32 // indexes of sessions, in the order of the schedule
	plan       pace.Plan
	connector  connector
	round      pace.Round
	book       *tally.Book
	flood      *flood         // nil in other modes
	path       *socket.Path   // nil while the ports' own sockets send
	frames     *socket.Outbox // by the path
	buffer     []byte         // for what is not data
	payload    []byte         // a train of data packets, constant behind their stamps
	base       uint32         // socket ID of the first session
	open       int            // connected sessions
	hungUp     int            // sessions ended by the other side
	begun, now int64
	adjusted   int64
	connecting bool // begin handshakes
}

// Run connects the callers and serves until ctx ends or the console says quit.
func Run(ctx context.Context, c Config, in io.Reader, out io.Writer) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	targets, err := c.targets()
	if err != nil {
		return err
	}
	undo := socket.Quiet()
	defer undo()
	l, err := open(c, targets)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer func() { err = errors.Join(err, l.close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error)
	// A goroutine of its own, because a pinned thread ends with it.
	go func() { served <- l.serve(ctx, in, out) }()
	return <-served
}

// serve connects the sessions, then does what the console says.
func (l *Load) serve(ctx context.Context, in io.Reader, out io.Writer) error {
	if err := socket.Thread(l.config.CPU); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	console := drive.Open(ctx, in, out, l.config.Duration)
	if l.config.Mode == Steady || l.config.Mode == Idle {
		if err := l.connectAll(ctx, console.SelfDriven()); err != nil {
			return fmt.Errorf("load: %w", err)
		}
		if err := l.openPath(); err != nil {
			return fmt.Errorf("load: -frames: %w", err)
		}
	}
	if err := console.Ready(l.clock.Now(), l); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	for {
		now := l.clock.Now()
		done, err := console.Turn(now, l)
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		if done {
			l.shutdown()
			l.flush()
			return nil
		}
		l.turn(now)
	}
}

// turn does everything that is due, once, and waits for what comes next.
func (l *Load) turn(now int64) {
	l.now = now
	if now-l.adjusted > adjustEvery {
		l.clock.Adjust()
		l.adjusted = now
	}
	if l.flood != nil {
		l.flood.turn(now)
		return
	}
	l.sendDue()
	l.sendKeepalives()
	l.beginConnects(now)
	l.retryHandshakes(now)
	if l.plan.Running() || l.open > 0 && !l.connecting {
		// Polling at ticks costs less than a wake-up for each datagram.
		l.receive(0)
		l.flush()
		socket.Pause(l.clock, now+int64(l.config.Tick))
		return
	}
	l.receive(idleWait)
}

func (l *Load) sendDue() {
	for range max(maxBurst/l.config.Train, 1) {
		i, due, ok := l.plan.Next(l.now)
		if !ok {
			return
		}
		if p := l.publishers[i]; l.sessions[p].phase == connected {
			l.publish(int(p), due)
		}
	}
}

// sendKeepalives sends keepalives where nothing else was sent.
func (l *Load) sendKeepalives() {
	first, last := l.round.Visit(l.now, len(l.sessions))
	for i := first; i < last; i++ {
		s := &l.sessions[i]
		if s.phase == connected && !s.sent {
			l.send(s, tally.Keepalive, srt.PutKeepalive(l.buffer, s.peer, l.timestamp()))
		}
		s.sent = false
	}
}

// receive handles what has arrived at all ports, for which it waits up to wait ns.
func (l *Load) receive(wait int64) {
	for {
		n := l.ready.Wait(wait)
		for i := range n {
			l.receiveFrom(l.ready.Number(i))
		}
		if !socket.Full(n) {
			return
		}
		wait = 0
	}
}

func (l *Load) receiveFrom(port int) {
	n := l.receiver.Receive(l.ports[port].fd)
	now := l.clock.Now()
	for i := range n {
		b, _, at := l.receiver.Message(i)
		if at == 0 {
			at = now
		}
		l.handle(port, b, at)
	}
}

// shutdown ends the sessions as callers do.
func (l *Load) shutdown() {
	for i := range l.sessions {
		if s := &l.sessions[i]; s.phase == connected {
			l.send(s, tally.Other, srt.PutShutdown(l.buffer, s.peer, l.timestamp()))
			s.phase = ended
		}
	}
}

// Start begins the traffic.
func (l *Load) Start(now int64) error {
	switch l.config.Mode {
	case Steady:
		l.plan.Start(now)
	case Connects:
		l.connecting = true
		l.connector.plan.Start(now)
	case Flood:
		l.flood.plan.Start(now)
		l.flood.running = true
	}
	return nil
}

// Mark begins the measured window.
func (l *Load) Mark(now int64) { l.book.Mark(now) }

// Stop ends the traffic and the window.
func (l *Load) Stop(now int64) {
	l.plan.Stop()
	l.book.Finish(now)
	if l.config.Mode == Connects {
		l.connecting, l.connector.backlog = false, 0
		l.connector.plan.Stop()
	}
	if l.flood != nil {
		l.flood.running = false
	}
}

// Arrivals counts what the traffic consists of.
func (l *Load) Arrivals() uint64 {
	if l.config.Mode == Connects {
		return l.book.Completed + l.book.Failed
	}
	return l.book.Received.Traffic()
}

// Report returns what was counted.
func (l *Load) Report() (tally.Report, error) {
	r, err := l.book.Report()
	r.Role, r.Sessions, r.HungUp = "load", l.open, l.hungUp
	if l.flood != nil {
		r.Bogus = l.flood.sent
	}
	return r, err
}
