package udp

import (
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
	"srtrelay/pool"
)

// receiveAttempts bounds how many pending errors one Receive steps over: each
// stands for an ICMP message, and a flood of them must not hold the loop.
const receiveAttempts = 8

// Datagram is one received message: a datagram or a train of them. It is a view
// of a batch, valid until the batch's next Receive.
type Datagram struct {
	// Data is one datagram, or a train of Stride-sized ones of which the last
	// may be shorter. Its capacity is clipped to its length.
	Data []byte
	// Stride is the length of each datagram in Data, len(Data) for a single
	// one. It is 0 only if Data is empty.
	Stride int
	// From is the sender.
	From addr.AddrPort
	// Local is the address the sender dialled; zero unless the socket is bound
	// to an unspecified address. A link-local one has the interface that it was
	// dialled on inside (addr.IP.Scoped).
	Local addr.IP
	// Truncated says that Data is not all that was sent.
	Truncated bool
}

// Batch is what one recvmmsg call brings, one message per buffer of its slab.
// It belongs to one shard, which uses it for all its sockets in turn. The
// kernel's arrays are wired to each other once; a call resets only lengths.
type Batch struct {
	memory   []byte // mapped
	slab     *pool.Slab
	messages []unix.Mmsghdr
	names    []sockaddr
	controls [][recvControlSize]byte
	parsed   []control
	// used is the number of messages of which the kernel changed the lengths.
	used int
	gro  bool
}

// NewBatch makes a batch of n messages of up to size bytes: pool.TrainSize for
// sockets with GRO, which need room for a whole train. Its memory is mapped
// outside of the heap, on huge pages and in place already, until Close. That
// takes some milliseconds for each 2 MiB: it is not for a shard's loop.
func NewBatch(n, size int) (*Batch, error) {
	memory, err := mapMemory(BatchBytes(n, size))
	if err != nil {
		return nil, fmt.Errorf("make a batch: %w", err)
	}
	return newBatch(memory, n, size), nil
}

// NewIdleBatch makes a batch whose memory the kernel gives only when datagrams
// land in it, by small pages: what an idle shard has.
func NewIdleBatch(n, size int) (*Batch, error) {
	memory, err := mapIdle(pool.SlabBytes(n, size))
	if err != nil {
		return nil, fmt.Errorf("make a batch: %w", err)
	}
	return newBatch(memory, n, size), nil
}

func newBatch(memory []byte, n, size int) *Batch {
	slab := pool.NewSlab(memory[:pool.SlabBytes(n, size)], size)
	b := &Batch{
		memory:   memory,
		slab:     slab,
		messages: make([]unix.Mmsghdr, n),
		names:    make([]sockaddr, n),
		controls: make([][recvControlSize]byte, n),
		parsed:   make([]control, n),
		used:     n,
	}
	vectors := make([]unix.Iovec, n)
	for i := range b.messages {
		vectors[i].Base = &slab.Buffer(i)[0]
		vectors[i].SetLen(slab.Size())
		h := &b.messages[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Iov = &vectors[i]
		h.SetIovlen(1)
		h.Control = &b.controls[i][0]
	}
	return b
}

// Bytes is the memory that the messages may take; 0 when closed.
func (b *Batch) Bytes() int { return len(b.memory) }

// Len is the most messages that one Receive brings.
func (b *Batch) Len() int { return len(b.messages) }

// Close gives the memory back; closing again does nothing. No datagram of the
// batch may be looked at any more.
func (b *Batch) Close() error {
	if b.memory == nil {
		return nil
	}
	err := unmapMemory(b.memory)
	b.memory, b.slab, b.messages = nil, nil, nil
	return err
}

// Receive fills the batch from s without waiting and returns how many messages
// came; 0 and no error when there are none. Errors that the kernel held for an
// earlier send are stepped over and remembered (Socket.ErrorsPending). An error
// means that s is closed or unusable.
func (b *Batch) Receive(s *Socket) (int, error) {
	b.reset()
	if s.fd == closedFD {
		return 0, net.ErrClosed
	}
	var errno unix.Errno
	for range receiveAttempts {
		var n int
		n, errno = receiveMessages(s.fd, b.messages, unix.MSG_DONTWAIT)
		switch {
		case errno == 0:
			b.used, b.gro = n, s.caps.GRO
			b.parse()
			return n, nil
		case errno == unix.EAGAIN:
			return 0, nil
		case isSoft(errno):
			s.errorsPending = true
		}
	}
	if isSoft(errno) || isFull(errno) || errno == unix.EINTR {
		return 0, nil // what there is comes with the next turn
	}
	// Being told clears a pending error: one that stays is the socket's own.
	return 0, fmt.Errorf("receive on udp %s: %w", s.local, os.NewSyscallError("recvmmsg", errno))
}

// reset gives the kernel back the full length of all that the previous call
// shortened.
func (b *Batch) reset() {
	for i := range b.messages[:b.used] {
		h := &b.messages[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(recvControlSize)
		h.Flags = 0
	}
	b.used = 0
}

// parse reads the control messages of what came.
func (b *Batch) parse() {
	for i := range b.messages[:b.used] {
		b.parsed[i] = parseControl(b.controls[i][:b.messages[i].Hdr.Controllen])
	}
}

// At returns message i of the last Receive.
func (b *Batch) At(i int) Datagram {
	m, c := &b.messages[i], &b.parsed[i]
	n := int(m.Len)
	d := Datagram{
		Data:      b.slab.Buffer(i)[:n:n],
		Stride:    n,
		From:      getSockaddr(&b.names[i]),
		Local:     c.local,
		Truncated: m.Hdr.Flags&unix.MSG_TRUNC != 0,
	}
	if c.stride > 0 && c.stride < n {
		d.Stride = c.stride
	}
	// With control messages cut off a train cannot be told from a datagram.
	if m.Hdr.Flags&unix.MSG_CTRUNC != 0 && b.gro && c.stride == 0 {
		d.Truncated = true
	}
	return d
}

// receiveMessages is recvmmsg(2). It must not block: a raw system call keeps
// its P, and the collector waits for it.
func receiveMessages(fd int, messages []unix.Mmsghdr, flags int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
