//go:build linux

package live

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/bench/socket"
	"srtrelay/bench/srt"
	"srtrelay/wire"
)

const (
	second = int64(time.Second)
	// tick is the time between two turns of a loop.
	tick = int64(time.Millisecond)
	// burst is how many data packets a turn sends at most, so that a loop that was held
	// up does not fill queues all at once.
	burst = 64
	// keepAlive is how long a session sends nothing at most, as with libsrt.
	keepAlive = second
	// repeatAfter is the interval of retries, as of libsrt's asynchronous callers.
	repeatAfter = 250 * int64(time.Millisecond)
	// connectFor is how long a caller tries to connect, as with libsrt.
	connectFor = 3 * second
	// againAfter is the time between a failure and the next attempt of a session that
	// stays.
	againAfter = 500 * int64(time.Millisecond)
	// restFor is how much longer than necessary a caller waits for the data that it must
	// receive.
	restFor = 5 * second
	// socketBuffer holds what arrives while the loop is held up for seconds.
	socketBuffer = 16 << 20
	// longestPacket is longer than every packet of this package.
	longestPacket = 2048
	// apart is the time between the first connects of two sessions: all at once would be
	// another test.
	apart = 2 * time.Millisecond
	// maxWaits is how many times of connecting are kept.
	maxWaits = 1 << 16
	// idMask keeps socket IDs below 2^30, as those of libsrt.
	idMask = 1<<30 - 1
)

// Spec is what a session carries.
type Spec struct {
	Prefix string  // of the stream's name
	Play   bool    // m=request in place of m=publish
	Rate   float64 // data packets per second, each way
	Count  uint64  // of them in all, each way; 0 for a session that stays
}

// CallersConfig is the callers' settings.
type CallersConfig struct {
	Target netip.AddrPort
	Local  netip.Addr
	// Locals are the addresses that the ports take in turn, if there are several.
	Locals []netip.Addr
	Ports  int // UDP ports that the sessions share
	Seed   uint64
	// Patience is how long the other side may be silent.
	Patience time.Duration
	// Apart is the time between the first connects of two sessions that stay; 0 for 2 ms.
	Apart time.Duration
	// In runs a function where the sockets are to be opened; nil for here.
	In func(func() error) error
}

// Counts is what the callers have done so far, and how many there are.
type Counts struct {
	Open, Wanted int // sessions that stay: connected, to be connected
	Short        int // sessions that end by themselves: connected

	Attempts, Connected, Failed uint64
	Rejected                    map[uint32]uint64 // of the failed, by code
	Ended                       map[End]uint64

	Sent, Received, Lost, Duplicated, Reordered uint64
	Unsent, Unknown                             uint64
	// Lag is by how much the loop was late at most since the last Counts.
	Lag time.Duration
}

// Callers is all callers of a run. Its loop runs on a goroutine of its own;
// every method may be called from any other.
type Callers struct {
	config CallersConfig
	clock  *socket.Clock
	ready  *socket.Ready
	in     *socket.Receiver
	fds    []int
	former []int // from before Rebind; nobody reads them
	begun  int64
	rng    *rand.Rand

	mu      sync.Mutex
	byID    map[uint32]*caller
	all     []*caller // in the order of their beginning, but for removals
	slots   []*caller // the sessions that stay
	churn   Spec
	every   int64 // ns between two short sessions, 0 for none
	next    int64 // when the next begins
	named   uint64
	id      uint32
	silent  bool // no data is sent
	leaving bool // nobody connects again
	counts  Counts
	ended   []Ledger
	waits   []time.Duration
	now     int64
	buffer  []byte
	payload []byte

	stop chan struct{}
	gone chan struct{}
}

// NewCallers opens the ports and starts the loop.
func NewCallers(c CallersConfig) (*Callers, error) {
	clock := socket.NewClock()
	ready, err := socket.NewReady()
	if err != nil {
		return nil, err
	}
	cs := &Callers{
		config: c, clock: clock, ready: ready, in: socket.NewReceiver(clock, false, false), begun: clock.Now(),
		rng: rand.New(rand.NewPCG(c.Seed, 1)), byID: map[uint32]*caller{},
		buffer: make([]byte, longestPacket), payload: make([]byte, srt.DataSize), stop: make(chan struct{}), gone: make(chan struct{}),
	}
	cs.id = cs.rng.Uint32() & idMask
	for i := range cs.payload {
		cs.payload[i] = byte(cs.rng.Uint32())
	}
	if err := cs.within(cs.open); err != nil {
		return nil, errors.Join(fmt.Errorf("open callers' ports: %w", err), cs.close())
	}
	go cs.run()
	return cs, nil
}

// within runs f where sockets are to be opened.
func (c *Callers) within(f func() error) error {
	if c.config.In == nil {
		return f()
	}
	return c.config.In(f)
}

func (c *Callers) open() error {
	for i := range c.config.Ports {
		fd, err := c.openPort(i)
		if err != nil {
			return err
		}
		c.fds = append(c.fds, fd)
	}
	return nil
}

func (c *Callers) openPort(i int) (fd int, err error) {
	local := c.config.Local
	if n := len(c.config.Locals); n > 0 {
		local = c.config.Locals[i%n]
	}
	fd, err = socket.Open(socket.Options{Local: netip.AddrPortFrom(local, 0), Remote: c.config.Target, Buffer: socketBuffer})
	if err != nil {
		return fd, err
	}
	if err := c.ready.Add(fd, i); err != nil {
		return fd, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func (c *Callers) close() error {
	err := c.ready.Close()
	for _, fd := range append(c.fds, c.former...) {
		err = errors.Join(err, unix.Close(fd))
	}
	return err
}

// Close ends the loop. It sends nothing to the other side.
func (c *Callers) Close() error {
	close(c.stop)
	<-c.gone
	return c.close()
}

// Counts returns the present counts.
func (c *Callers) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts
	n.Rejected, n.Ended = maps.Clone(n.Rejected), maps.Clone(n.Ended)
	n.Wanted = len(c.slots)
	for _, k := range c.all {
		switch {
		case k.phase != connected:
		case k.stays:
			n.Open++
		default:
			n.Short++
		}
		n.add(k.ledger)
	}
	c.counts.Lag = 0
	return n
}

func (n *Counts) add(l Ledger) {
	n.Sent += l.Sent
	n.Received += l.Received
	n.Lost += l.Lost
	n.Duplicated += l.Duplicated
	n.Reordered += l.Reordered
}

// Ledgers returns those of the open sessions, and those of the sessions that
// ended since the last call.
func (c *Callers) Ledgers() (open, ended []Ledger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.all {
		if k.phase == connected {
			open = append(open, k.ledger)
		}
	}
	ended, c.ended = c.ended, nil
	return open, ended
}

// run is the loop.
func (c *Callers) run() {
	defer close(c.gone)
	adjusted := c.begun
	for {
		select {
		case <-c.stop:
			return
		default:
		}
		now := c.clock.Now()
		if now-adjusted > second {
			c.clock.Adjust()
			adjusted = now
		}
		c.turn(now)
		rest(c.clock, now)
	}
}

// rest waits until the next tick, also if the loop is late: unlike package load it must not
// take CPU from the relay, whose losses are counted. What arrives meanwhile fits into the
// sockets' buffers.
func rest(c *socket.Clock, begun int64) {
	time.Sleep(max(time.Duration(begun+tick-c.Now()), time.Duration(tick)/4))
}

func (c *Callers) turn(now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now > 0 {
		c.counts.Lag = max(c.counts.Lag, time.Duration(now-c.now-tick))
	}
	c.now = now
	c.receive()
	c.beginShort()
	sent := 0
	kept := c.all[:0]
	for _, k := range c.all {
		c.visit(k, &sent)
		if k.phase != idle {
			kept = append(kept, k)
		}
	}
	clear(c.all[len(kept):])
	c.all = kept
	for _, k := range c.slots {
		if k.phase == idle && !c.leaving && now >= k.again {
			c.begin(k)
		}
	}
}

func (c *Callers) receive() {
	for {
		n := c.ready.Wait(0)
		for i := range n {
			c.drain(c.ready.Number(i))
		}
		if !socket.Full(n) {
			return
		}
	}
}

func (c *Callers) drain(port int) {
	n := c.in.Receive(c.fds[port])
	for i := range n {
		b, _, _ := c.in.Message(i)
		if len(b) < wire.HeaderSize {
			c.counts.Unknown++
			continue
		}
		k := c.byID[wire.Packet(b).DestID()]
		if k == nil || k.port != port {
			c.counts.Unknown++
			continue
		}
		c.handle(k, b)
	}
}

// beginShort begins the short sessions that are due.
func (c *Callers) beginShort() {
	for c.every > 0 && !c.leaving && c.now >= c.next {
		c.next += c.every
		c.named++
		c.begin(&caller{spec: c.churn, since: c.now, stream: fmt.Sprintf("%s%d", c.churn.Prefix, c.named)})
	}
}

func (c *Callers) timestamp() uint32 { return uint32((c.now - c.begun) / 1000) }
