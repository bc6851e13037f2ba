package udp

import (
	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

const (
	// refusedAttempts bounds how often a message is tried again because the
	// kernel reported the ICMP error of an earlier one instead of sending it.
	refusedAttempts = 8
	// fullAttempts is one retry: to wait for room in a send buffer would delay
	// the datagrams of all other sessions.
	fullAttempts = 1
	// unsureAttempts is one retry for an error that may be a pending one of an
	// earlier message: reporting clears it, so a second one is the message's
	// own.
	unsureAttempts = 1
)

// Outbox collects what is to be sent through one socket, and sends it in few
// messages. It belongs to the socket's shard.
type Outbox struct {
	socket  *Socket
	plan    plan
	bulk    chunk // messages as planned
	single  chunk // a refused superpacket's datagrams, one by one
	outcome Outcome
	// unsegmented are the destinations that get no superpackets.
	unsegmented unsegmented
	// send is sendMessages. Tests replace it to return results that loopback
	// never gives.
	send func(fd int, messages []unix.Mmsghdr) (int, unix.Errno)
}

// NewOutbox makes the outbox of s.
func NewOutbox(s *Socket) *Outbox {
	o := &Outbox{socket: s, send: sendMessages}
	o.plan.init()
	o.bulk.init(s.is4, entryCapacity)
	o.single.init(s.is4, maxSegments)
	return o
}

// Add queues b for the destination to. Datagrams of one flow to one destination
// leave in the order in which they were added. A zero from lets the kernel choose
// the source address; any other is the local address to send from, of the same
// family as to. Add borrows b until Flush returns; a full outbox flushes
// itself.
func (o *Outbox) Add(to addr.AddrPort, from addr.IP, flow uint32, b []byte) {
	if o.socket.is4 && !to.Is4() {
		o.outcome.Unreachable++
		return
	}
	if o.plan.full() {
		o.Flush()
	}
	o.plan.add(&to, &from, flow, b, o.socket.offloads.gso)
}

// Pending is the number of datagrams added and not yet flushed.
func (o *Outbox) Pending() int { return len(o.plan.entries) }

// Outcome returns the counts since it was last called.
func (o *Outbox) Outcome() Outcome {
	outcome := o.outcome
	o.outcome = Outcome{}
	return outcome
}

// Flush sends all that was added, or counts why it could not. It never blocks.
func (o *Outbox) Flush() {
	o.plan.fold()
	for i := range o.plan.runs {
		r := &o.plan.runs[i]
		switch {
		case r.count == 0:
		case r.count > 1 && o.unsegmented.holds(r):
			for e := r.first; e != none; e = o.plan.entries[e].next {
				o.put(int32(i), e, 1)
			}
		default:
			o.put(int32(i), r.first, r.count)
		}
	}
	o.transmit(&o.bulk)
	o.plan.reset()
}

// put adds a message of count entries of a run to the chunk, and sends the chunk
// when it is full.
func (o *Outbox) put(run, first, count int32) {
	o.bulk.put(&o.plan, run, first, count)
	if o.bulk.full() {
		o.transmit(&o.bulk)
	}
}

// transmit sends the chunk and empties it. The kernel stops at the first message
// that it cannot send, and reports why only if it is the first of the call, so
// each call begins with the first message not yet sent.
func (o *Outbox) transmit(c *chunk) {
	attempts := 0
	for i := 0; i < c.used; {
		n, errno := o.send(o.socket.fd, c.headers[i:c.used])
		o.outcome.Calls++
		if errno == 0 && n > 0 {
			o.countSent(c.parts[i : i+n])
			i += n
			attempts = 0
			// A pending error may have stopped it, which the kernel then clears.
			if i < c.used {
				o.noteErrors()
			}
			continue
		}
		if attempts < o.attemptsFor(errno, c.parts[i]) {
			attempts++
			continue
		}
		o.giveUp(c.parts[i], errno)
		i++
		attempts = 0
	}
	c.reset()
}

func (o *Outbox) countSent(parts []part) {
	for i := range parts {
		o.outcome.Sent += uint64(parts[i].count)
		o.outcome.SentBytes += uint64(parts[i].bytes)
		if parts[i].count > 1 && len(o.unsegmented.destinations) > 0 {
			o.unsegmented.passed(&o.plan.runs[parts[i].run])
		}
	}
}

// noteErrors notes that the error queue may hold something.
func (o *Outbox) noteErrors() {
	if o.socket.refusals != nil {
		o.socket.errorsPending = true
	}
}

// attemptsFor is how often a message that failed with errno is tried again
// unchanged.
func (o *Outbox) attemptsFor(errno unix.Errno, p part) int {
	switch {
	case errno == unix.EINTR:
		return refusedAttempts
	case errno == unix.ECONNREFUSED:
		o.noteErrors()
		return refusedAttempts
	case isFull(errno):
		return fullAttempts
	case p.count > 1 && isOffload(errno):
		return 0
	case isSoft(errno) && o.socket.refusals != nil:
		o.noteErrors()
		return unsureAttempts
	}
	return 0
}

// giveUp ends the attempts for a message: the datagrams of a superpacket that was
// refused as such are sent one by one, all others are counted by reason.
func (o *Outbox) giveUp(p part, errno unix.Errno) {
	datagrams := uint64(p.count)
	switch {
	case p.count > 1 && isOffload(errno):
		// Only EIO does not depend on the length of a segment.
		if o.unsegmented.refused(&o.plan.runs[p.run], errno != unix.EIO) {
			o.outcome.OffloadLost++
		}
		o.sendSingly(p.run)
	case isFull(errno):
		o.outcome.BufferFull += datagrams
	case errno == unix.EMSGSIZE:
		o.outcome.TooBig += datagrams
	case isUnreachable(errno):
		o.outcome.Unreachable += datagrams
	default:
		o.outcome.Failed += datagrams
	}
}

// sendSingly sends the datagrams of a run one by one.
func (o *Outbox) sendSingly(run int32) {
	for e := o.plan.runs[run].first; e != none; e = o.plan.entries[e].next {
		o.single.put(&o.plan, run, e, 1)
	}
	o.transmit(&o.single)
}

// isFull reports whether there was no room. With the error queue on, the kernel
// returns ENOBUFS also for what the device's queue dropped.
func isFull(errno unix.Errno) bool {
	return errno == unix.EAGAIN || errno == unix.ENOBUFS || errno == unix.ENOMEM
}

// isOffload reports whether the datagrams of a superpacket that failed with errno
// may pass one by one: EIO if the route's device cannot compute checksums,
// EMSGSIZE (EINVAL on older kernels) if a segment is longer than the path's MTU
// and needs fragmentation.
func isOffload(errno unix.Errno) bool {
	return errno == unix.EIO || errno == unix.EMSGSIZE || errno == unix.EINVAL
}
