//go:build linux

package socket

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refusals is how often a send is repeated because the kernel reports the ICMP error of an
// earlier one instead of sending.
const refusals = 2

// Send sends b on a connected socket. It is false if the kernel refuses.
func Send(fd int, b []byte) bool {
	for range refusals {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
		if errno == 0 {
			return true
		}
		if errno != unix.ECONNREFUSED {
			return false
		}
	}
	return false
}

// OutboxMessages is how many datagrams are sent by one call. More would save little, and all
// bear the time of the call, 20 µs after which the last one leaves.
const OutboxMessages = 8

// Outbox collects datagrams of one socket until the flush, which sends them in order. Only
// one loop uses it.
type Outbox struct {
	fd      int
	clock   *Clock
	stamp   int // where in a payload the time of sending stands
	head    int // bytes in front of a payload
	headers [OutboxMessages]unix.Mmsghdr
	vectors [OutboxMessages]unix.Iovec
	names   [OutboxMessages]Address
	slab    [OutboxMessages][bufferSize]byte
	due     [OutboxMessages]int64 // 0 for what bears no time
	used    int
	most    int // that one call sends
	unsent  uint64
	lag     func(ns int64)
}

// NewOutbox returns an outbox for a socket that is not connected. stamp is the offset in a
// timed payload at which the time of sending is written.
func NewOutbox(fd int, c *Clock, stamp int) *Outbox {
	o := newOutbox(fd, c, stamp, 0)
	for i := range o.headers {
		o.headers[i].Hdr.Name = &o.names[i].raw[0]
	}
	return o
}

func newOutbox(fd int, c *Clock, stamp, head int) *Outbox {
	o := &Outbox{fd: fd, clock: c, stamp: stamp, head: head, most: OutboxMessages, lag: func(int64) {}}
	for i := range o.headers {
		o.vectors[i].Base = &o.slab[i][0]
		h := &o.headers[i].Hdr
		h.Iov = &o.vectors[i]
		h.SetIovlen(1)
	}
	return o
}

// Fill writes b to all places, as their first content.
func (o *Outbox) Fill(b []byte) {
	for i := range o.slab {
		copy(o.slab[i][o.head:], b)
	}
}

// AtMost has at most n datagrams sent by one call, from 1 to OutboxMessages. With 1, each bears
// the time of its own call.
func (o *Outbox) AtMost(n int) { o.most = n }

// OnLag has lag called for each timed datagram with how late it is sent.
func (o *Outbox) OnLag(lag func(ns int64)) { o.lag = lag }

// Next returns the place of the next datagram, with its old content. A Put sends it.
func (o *Outbox) Next() []byte { return o.slab[o.used][o.head:] }

// Put queues the first n bytes of Next. A full outbox is flushed.
func (o *Outbox) Put(n int, to *Address) { o.PutTimed(n, to, 0) }

// PutTimed is Put for a datagram that was due at a time and bears the time of its sending.
func (o *Outbox) PutTimed(n int, to *Address, due int64) {
	i := o.used
	o.names[i] = *to
	o.headers[i].Hdr.Namelen = to.len
	o.put(n, due)
}

// PutFrame is PutTimed for a packet socket. due is 0 for a datagram without a time.
func (o *Outbox) PutFrame(n int, h *Head, due int64) {
	h.write(o.slab[o.used][:], n)
	o.put(n, due)
}

func (o *Outbox) put(n int, due int64) {
	o.vectors[o.used].SetLen(o.head + n)
	o.due[o.used] = due
	if o.used++; o.used == o.most {
		o.Flush()
	}
}

// Flush sends what is queued. It skips a datagram that the kernel refuses.
func (o *Outbox) Flush() {
	o.time()
	for done := 0; done < o.used; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(o.fd), uintptr(unsafe.Pointer(&o.headers[done])),
			uintptr(o.used-done), unix.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			o.unsent++
			done++
			continue
		}
		done += int(n)
	}
	o.used = 0
}

// time writes the time of sending; the clock is read once, if at all, because
// that costs a tenth of a send.
func (o *Outbox) time() {
	now := int64(0)
	for i, due := range o.due[:o.used] {
		if due == 0 {
			continue
		}
		if now == 0 {
			now = o.clock.Now()
		}
		binary.BigEndian.PutUint64(o.slab[i][o.head+o.stamp:], uint64(now))
		o.lag(now - due)
	}
}

// TakeUnsent returns how many datagrams the kernel refused since the last
// call.
func (o *Outbox) TakeUnsent() uint64 {
	n := o.unsent
	o.unsent = 0
	return n
}
