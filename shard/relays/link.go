package relays

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"srtrelay/handshake"
	"srtrelay/internal/supervise"
)

const (
	// lookupBatch is how many flows are asked for in one round trip.
	lookupBatch = 512
	// maxQuestions is how many flows wait to be asked for, of all lanes.
	maxQuestions = 16384
	// socketBuffer is asked of the kernel, for the datagrams of some ms.
	socketBuffer = 4 << 20
	// rebindAfter is the time between two attempts to open the socket, which the process
	// before may have open still.
	rebindAfter = 50 * time.Millisecond
	// sendBurst is how many frames of a lane are sent before the next lane's.
	sendBurst = 64
)

// Options is what a Link needs.
type Options struct {
	// Listen is the address at which other relays reach this one. Port 0 is any.
	Listen netip.AddrPort
	// Secrets seal the frames.
	Secrets *handshake.SharedSecrets
	// Directory finds owners. One call is under way at a time.
	Directory Directory
	// Supervisor supervises the background tasks; nil for none.
	Supervisor *supervise.Supervisor
}

// Link connects this relay with the others. Methods may be called by any goroutine.
type Link struct {
	o        Options
	sender   uint64  // names this process
	sequence uint64  // of the sender's last frame
	seen     windows // the receiver's, whether it is started again or not
	counters counters

	wake      chan struct{}
	questions chan question

	mu    sync.Mutex
	lanes []*Lane
	conn  *net.UDPConn // nil while it is not open
	shut  bool         // Close was called, and Start not since
	tasks *supervise.Tasks
	stop  context.CancelFunc
}

// question asks for the owner of a flow.
type question struct {
	lane *Lane
	flow Flow
}

// New returns a Link that neither sends nor receives yet.
func New(o Options) *Link {
	return &Link{
		o: o, sender: rand.Uint64(), seen: windows{bySender: make(map[uint64]*window)},
		wake: make(chan struct{}, 1), questions: make(chan question, maxQuestions),
	}
}

// Lane returns the part of a new shard. post runs a function on its loop, or returns false.
func (l *Link) Lane(post func(func(now time.Duration)) bool) *Lane {
	lane := newLane(l, post)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lanes = append(l.lanes, lane)
	return lane
}

// Stats copies the counters.
func (l *Link) Stats() Stats { return l.counters.stats() }

// Addr returns the address of the socket, with the port that the kernel gave; the zero value
// while it is not open.
func (l *Link) Addr() netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return netip.AddrPort{}
	}
	return unmapped(l.conn.LocalAddr().(*net.UDPAddr).AddrPort())
}

// Open opens the socket.
func (l *Link) Open() error {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(l.o.Listen))
	if err != nil {
		return fmt.Errorf("listen for other relays: %w", err)
	}
	_ = conn.SetReadBuffer(socketBuffer) // as much as the kernel grants
	_ = conn.SetWriteBuffer(socketBuffer)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut {
		_ = conn.Close()
		return net.ErrClosed
	}
	l.conn = conn
	return nil
}

// Start begins to send and to receive: deliver gets what other relays pass on. It opens the
// socket unless Open has.
func (l *Link) Start(deliver Deliver) {
	ctx, stop := context.WithCancel(context.Background())
	l.stop, l.tasks = stop, l.o.Supervisor.Tasks()
	l.mu.Lock()
	l.shut = false
	l.mu.Unlock()
	l.tasks.Loop(ctx, "relay questions", l.answerQuestions)
	l.tasks.Loop(ctx, "relay sender", l.send)
	l.tasks.Loop(ctx, "relay receiver", func(ctx context.Context) {
		if l.awaitSocket(ctx) {
			l.receive(ctx, deliver)
		}
	})
}

// awaitSocket opens the socket as soon as another process has closed its own; false if ctx
// ends before.
func (l *Link) awaitSocket(ctx context.Context) bool {
	for !l.Addr().IsValid() && l.Open() != nil {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(rebindAfter):
		}
	}
	return true
}

// Close ends all, and closes the socket. Start begins again.
func (l *Link) Close() {
	if l.stop != nil {
		l.stop()
		defer l.tasks.Wait()
	}
	l.mu.Lock()
	conn := l.conn
	l.conn, l.shut = nil, true
	l.mu.Unlock()
	if conn != nil {
		_ = conn.Close() // it ends the receiver too
	}
}

// wakeSender has the sender look at the rings.
func (l *Link) wakeSender() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// ask queues a question; false if there are too many.
func (l *Link) ask(q question) bool {
	select {
	case l.questions <- q:
		return true
	default:
		return false
	}
}

// answerQuestions asks the directory until ctx ends.
func (l *Link) answerQuestions(ctx context.Context) {
	batch := make([]question, 0, lookupBatch)
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-l.questions:
			batch = append(batch[:0], q)
		}
		for more := true; more && len(batch) < lookupBatch; {
			select {
			case q := <-l.questions:
				batch = append(batch, q)
			default:
				more = false
			}
		}
		l.lookUp(ctx, batch)
	}
}

// lookUp asks for a batch of owners, and tells the lanes.
func (l *Link) lookUp(ctx context.Context, batch []question) {
	flows := make([]Flow, len(batch))
	for i, q := range batch {
		flows[i] = q.flow
	}
	owners, err := l.o.Directory(ctx, flows)
	if err == nil && len(owners) != len(flows) {
		err = errors.New("not as many owners as flows")
	}
	l.counters.add(CountLookups, uint64(len(batch)))
	type answer struct {
		flow  Flow
		owner Owner
	}
	byLane := make(map[*Lane][]answer)
	for i, q := range batch {
		a := answer{flow: q.flow}
		switch {
		case err != nil:
			l.counters.add(CountLookupsAway, 1)
		case owners[i].At.IsValid():
			a.owner = owners[i]
			l.counters.add(CountLookupsFound, 1)
		}
		byLane[q.lane] = append(byLane[q.lane], a)
	}
	for lane, all := range byLane {
		lane.post(func(now time.Duration) { // a lost answer is asked for again
			for _, a := range all {
				lane.answer(now, a.flow, a.owner, err)
			}
		})
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
