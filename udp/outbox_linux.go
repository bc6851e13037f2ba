package udp

import (
	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

const (
	// refusedAttempts bounds how often a message is sent again because the
	// kernel reported an ICMP error of another one instead of sending it.
	refusedAttempts = 8
	// fullAttempts is one retry and no more: whoever waits for room in a send
	// buffer makes everyone else wait.
	fullAttempts = 1
	// unsureAttempts is one retry for an error that may be the datagram's own
	// as well as a pending one: being told clears it, so a second is its own.
	unsureAttempts = 1
)

// Outcome says what became of datagrams put on an outbox. Each counts once: in
// Sent, or in one of the four reasons.
type Outcome struct {
	Sent        uint64
	SentBytes   uint64 // of payload
	Calls       uint64 // of sendmmsg
	BufferFull  uint64 // no room in the send buffer or the device's queue
	TooBig      uint64 // longer than the path or the protocol takes
	Unreachable uint64 // no route, or not permitted
	Failed      uint64 // any other error
	OffloadLost uint64 // destinations that refuse superpackets; not datagrams
}

// Outbox gathers what is to be sent through one socket, and sends it as few
// messages. It belongs to the socket's shard.
type Outbox struct {
	socket  *Socket
	plan    plan
	bulk    chunk // messages as planned
	single  chunk // a refused superpacket's datagrams, one by one
	outcome Outcome
	// unsegmented are the destinations that get no superpackets.
	unsegmented unsegmented
	// send is sendMessages. Results that loopback never gives are scripted
	// here by the tests.
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

// Add puts b on the outbox, to leave for to. What is of one flow to one
// destination leaves in the order in which it was added. A zero from lets the kernel choose
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
	o.plan.add(&to, &from, flow, b, o.socket.caps.GSO)
}

// Pending is the number of datagrams added and not yet flushed.
func (o *Outbox) Pending() int { return len(o.plan.entries) }

// Outcome returns what happened since it was last called.
func (o *Outbox) Outcome() Outcome {
	outcome := o.outcome
	o.outcome = Outcome{}
	return outcome
}

// Flush sends all that was added, or counts why not. It never waits.
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

// put puts a message of count entries of a run on the chunk, which is sent when
// it is full.
func (o *Outbox) put(run, first, count int32) {
	o.bulk.put(&o.plan, run, first, count)
	if o.bulk.full() {
		o.transmit(&o.bulk)
	}
}

// transmit sends the chunk and empties it. The kernel stops at the first
// message it cannot send and tells why only if it is the first of the call, so
// each call begins at the first one not yet sent.
func (o *Outbox) transmit(c *chunk) {
	attempts := 0
	for i := 0; i < c.used; {
		n, errno := o.send(o.socket.fd, c.headers[i:c.used])
		o.outcome.Calls++
		if errno == 0 && n > 0 {
			o.countSent(c.parts[i : i+n])
			i += n
			attempts = 0
			// A pending error may be what stopped it; the kernel forgets it.
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

// noteErrors remembers that the error queue is worth a look.
func (o *Outbox) noteErrors() {
	if o.socket.refusals != nil {
		o.socket.errorsPending = true
	}
}

// attemptsFor is how often a message that failed with errno is sent again as
// it is.
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

// giveUp ends the sending of a message: a superpacket that is refused as such
// goes again in pieces, all else is counted under its reason.
func (o *Outbox) giveUp(p part, errno unix.Errno) {
	datagrams := uint64(p.count)
	switch {
	case p.count > 1 && isOffload(errno):
		// The length of a segment matters to all of isOffload but EIO.
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

// isFull reports that there was no room just now. With the error queue on, the
// kernel says ENOBUFS also for what the device's queue dropped.
func isFull(errno unix.Errno) bool {
	return errno == unix.EAGAIN || errno == unix.ENOBUFS || errno == unix.ENOMEM
}

// isOffload reports whether errno, on a superpacket, can mean that its
// datagrams would pass one by one: EIO where the route's device cannot do
// checksums, EMSGSIZE (EINVAL on older kernels) where a segment is longer than
// the path's MTU and needs fragmenting.
func isOffload(errno unix.Errno) bool {
	return errno == unix.EIO || errno == unix.EMSGSIZE || errno == unix.EINVAL
}
