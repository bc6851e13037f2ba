package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// chunkMessages is the most messages of one sendmmsg call. The garbage collector
// waits for a raw system call, in which the kernel copies up to this many
// superpackets of 64 KiB.
const chunkMessages = 64

// part says what a message of a chunk contains.
type part struct {
	run   int32 // of the plan
	count int32 // datagrams
	bytes int32
}

// chunk is the messages of one sendmmsg call in the kernel's form. Its arrays
// are linked once.
type chunk struct {
	is4      bool
	headers  [chunkMessages]unix.Mmsghdr
	names    [chunkMessages]sockaddr
	controls [chunkMessages][sendControlSize]byte
	parts    [chunkMessages]part
	vectors  []unix.Iovec
	used     int // messages
	gathered int // vectors
}

// init prepares the chunk for messages of at most entries datagrams in all.
func (c *chunk) init(is4 bool, entries int) {
	c.is4 = is4
	// One more, so that an empty message after the last vector has one to
	// point at.
	c.vectors = make([]unix.Iovec, entries+1)
	for i := range c.headers {
		h := &c.headers[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&c.names[i]))
		h.Namelen = sockaddrLen(is4)
		h.Control = &c.controls[i][0]
	}
}

func (c *chunk) reset() { c.used, c.gathered = 0, 0 }

func (c *chunk) full() bool { return c.used == chunkMessages }

// put appends a message of count entries of run i, the first being entry e.
func (c *chunk) put(p *plan, i, e, count int32) {
	r, m := &p.runs[i], c.used
	c.used++
	h := &c.headers[m].Hdr
	putSockaddr(&c.names[m], &r.to, c.is4)
	h.SetControllen(c.putControl(m, r, count))

	first, bytes := c.gathered, int32(0)
	h.Iov = &c.vectors[first]
	for range count {
		payload := p.entries[e].payload
		c.gather(first, payload)
		bytes += int32(len(payload))
		e = p.entries[e].next
	}
	h.SetIovlen(c.gathered - first)
	c.parts[m] = part{run: i, count: count, bytes: bytes}
}

// putControl writes the control messages of message m and returns their
// length.
func (c *chunk) putControl(m int, r *run, count int32) (n int) {
	b := c.controls[m][:]
	if r.from != (run{}).from {
		n = putSource(b, &r.from, c.is4)
	}
	if count > 1 {
		n += putSegment(b[n:], uint16(r.size))
	}
	return n
}

// gather adds a payload to the message whose first vector is given. A payload
// that follows the previous one in memory, as the segments of a train do,
// extends that vector instead of taking another.
func (c *chunk) gather(first int, payload []byte) {
	if len(payload) == 0 {
		return
	}
	start := unsafe.SliceData(payload)
	if c.gathered > first {
		last := &c.vectors[c.gathered-1]
		if uintptr(unsafe.Pointer(last.Base))+uintptr(last.Len) == uintptr(unsafe.Pointer(start)) {
			last.SetLen(int(last.Len) + len(payload))
			return
		}
	}
	v := &c.vectors[c.gathered]
	v.Base = start
	v.SetLen(len(payload))
	c.gathered++
}

// sendMessages is sendmmsg(2). Like receiveMessages it must not block.
func sendMessages(fd int, messages []unix.Mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
