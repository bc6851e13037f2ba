package udp

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// wakeIndex is the index of the poller's own descriptor among those it polls.
const wakeIndex = 0

// Poller waits until a socket of a shard is readable, another goroutine wakes
// it, or time is up. It belongs to the shard, except for Wake.
type Poller struct {
	sockets []*Socket
	polled  []unix.PollFd // wakeIndex, then one per socket
	count   [8]byte       // for drain; a local variable would be allocated

	// awake is set from a Wake to the Wait that it ends: in between, another
	// Wake needs no system call.
	awake atomic.Bool
	// mu keeps Close from closing the descriptor while a Wake is about to
	// write to it. The shard locks it in Close only.
	mu     sync.Mutex
	wakeFD int
	one    [8]byte // what Wake writes; constant
}

// NewPoller makes a poller without sockets.
func NewPoller() (*Poller, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open poller: %w", os.NewSyscallError("eventfd", err))
	}
	p := &Poller{
		wakeFD: fd,
		polled: []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}},
	}
	binary.NativeEndian.PutUint64(p.one[:], 1)
	return p, nil
}

// Add makes the poller wait for s as well, and returns the index of s for
// Readable and Errored. A closed socket keeps its index and is never ready
// again.
func (p *Poller) Add(s *Socket) int {
	p.sockets = append(p.sockets, s)
	p.polled = append(p.polled, unix.PollFd{Events: unix.POLLIN})
	return len(p.sockets) - 1
}

// Wait returns when a socket is ready, after Wake, or when timeout has passed;
// a negative timeout never passes. A Wake before Wait ends it at once. A signal
// may end it early.
func (p *Poller) Wait(timeout time.Duration) error {
	if p.wakeFD == closedFD {
		return net.ErrClosed
	}
	for i, s := range p.sockets {
		p.polled[wakeIndex+1+i].Fd = int32(s.fd)
	}
	var deadline *unix.Timespec
	if timeout >= 0 {
		ts := unix.NsecToTimespec(int64(timeout))
		deadline = &ts
	}
	// Not a raw system call: it blocks, and another thread needs the P.
	_, err := unix.Ppoll(p.polled, deadline, nil)
	if err != nil {
		for i := range p.polled {
			p.polled[i].Revents = 0
		}
		if err == unix.EINTR {
			return nil
		}
		return fmt.Errorf("wait for datagrams: %w", os.NewSyscallError("ppoll", err))
	}
	if p.woken() {
		p.drain()
	}
	for i, s := range p.sockets {
		if p.Errored(i) && s.refusals != nil {
			s.errorsPending = true
		}
	}
	return nil
}

// Pause returns after d or at a Wake, but not for datagrams, so that they gather
// in the socket and cost no wake-up each.
//
// It is an ordinary system call although it is short: from a thread that kept its
// P the runtime would take it every 10 ms, by a signal of another thread, and the
// garbage collector would wait for it.
func (p *Poller) Pause(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	p.polled[wakeIndex].Revents = 0
	_, _ = unix.Ppoll(p.polled[wakeIndex:wakeIndex+1], &ts, nil)
	if p.woken() {
		p.drain()
	}
}

// drain clears the wake-up. The caller of drain sees what was written before any
// Wake that found awake still set.
func (p *Poller) drain() {
	_, _ = unix.Read(p.wakeFD, p.count[:])
	p.awake.Store(false)
}

// Readable reports whether the last Wait found socket i readable. An unusable
// socket counts as readable: Receive returns what is wrong with it.
func (p *Poller) Readable(i int) bool {
	return p.polled[wakeIndex+1+i].Revents&(unix.POLLIN|unix.POLLHUP|unix.POLLNVAL) != 0
}

// Errored reports whether the last Wait found entries in the error queue of
// socket i. Until they are read (Socket.ReadErrors), Wait returns at once.
func (p *Poller) Errored(i int) bool {
	return p.polled[wakeIndex+1+i].Revents&unix.POLLERR != 0
}

// woken reports whether a Wake ended the last Wait.
func (p *Poller) woken() bool { return p.polled[wakeIndex].Revents&unix.POLLIN != 0 }

// Wake ends the current Wait, or the next one. Any goroutine may call it, also
// after Close. It does not block.
func (p *Poller) Wake() {
	if p.awake.Swap(true) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wakeFD == closedFD {
		return
	}
	// The write fails only if the count is at its limit: then a wake-up is due.
	_, _ = unix.Write(p.wakeFD, p.one[:])
}

// Close frees the poller, not its sockets. It must not run during Wait.
func (p *Poller) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wakeFD == closedFD {
		return nil
	}
	fd := p.wakeFD
	p.wakeFD = closedFD
	return os.NewSyscallError("close", unix.Close(fd))
}
