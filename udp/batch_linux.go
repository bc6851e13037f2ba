package udp

import (
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"srtrelay/pool"
)

// receiveAttempts bounds how many pending errors one Receive skips: each stands
// for an ICMP message, and a flood of them must not stop the loop.
const receiveAttempts = 8

// Batch holds the messages of one recvmmsg call, one per buffer of its slab. It
// belongs to one shard, which uses it for all its sockets in turn. The kernel's
// arrays are linked once; a call resets only lengths.
type Batch struct {
	memory   []byte // a mapping
	slab     *pool.Slab
	messages []unix.Mmsghdr
	names    []sockaddr
	controls [][recvControlSize]byte
	parsed   []control
	// used is the number of messages whose lengths the kernel has changed.
	used int
	gro  bool
}

// NewBatch makes a batch of n messages of up to size bytes: pool.TrainSize for
// sockets with GRO, which need room for a whole train. Its memory lies outside
// the Go heap, on huge pages if there are any, and is populated until Close.
// Populating takes milliseconds: a shard's loop must not call it.
func NewBatch(n, size int) (*Batch, error) {
	memory, err := mapMemory(BatchBytes(n, size))
	if err != nil {
		return nil, fmt.Errorf("make a batch: %w", err)
	}
	return newBatch(memory, n, size), nil
}

// NewIdleBatch makes the batch of an idle shard: the kernel populates its memory
// by small pages, when datagrams arrive in it.
func NewIdleBatch(n, size int) (*Batch, error) {
	memory, err := mapIdle(n * size)
	if err != nil {
		return nil, fmt.Errorf("make a batch: %w", err)
	}
	return newBatch(memory, n, size), nil
}

func newBatch(memory []byte, n, size int) *Batch {
	slab := pool.NewSlab(memory[:n*size], size)
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

// Bytes is the size of the batch's memory; 0 when closed.
func (b *Batch) Bytes() int { return len(b.memory) }

// Len is the most messages that one Receive returns.
func (b *Batch) Len() int { return len(b.messages) }

// Close frees the memory; closing again does nothing. The datagrams of the batch
// must not be used any more.
func (b *Batch) Close() error {
	if b.memory == nil {
		return nil
	}
	err := unmapMemory(b.memory)
	b.memory, b.slab, b.messages = nil, nil, nil
	return err
}

// Receive fills the batch from s without waiting and returns how many messages
// came; 0 and no error when there are none. Receive skips errors that the kernel
// kept from an earlier send, and notes them (Socket.ErrorsPending). An error
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
			b.used, b.gro = n, s.offloads.gro
			b.parse()
			return n, nil
		case errno == unix.EAGAIN:
			if s.endGRO {
				s.tryEndGRO()
			}
			return 0, nil
		case isSoft(errno):
			s.errorsPending = true
		}
	}
	if isSoft(errno) || isFull(errno) || errno == unix.EINTR {
		return 0, nil // the next turn receives what there is
	}
	// Reporting a pending error clears it: one that stays is the socket's own.
	return 0, fmt.Errorf("receive on udp %s: %w", s.local, os.NewSyscallError("recvmmsg", errno))
}

// reset restores the lengths that the kernel shortened in the previous call.
func (b *Batch) reset() {
	for i := range b.messages[:b.used] {
		h := &b.messages[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(recvControlSize)
		h.Flags = 0
	}
	b.used = 0
}

// parse reads the control messages of the messages received.
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
	// Without its control messages a train looks like one datagram.
	if m.Hdr.Flags&unix.MSG_CTRUNC != 0 && b.gro && c.stride == 0 {
		d.Truncated = true
	}
	return d
}

// receiveMessages is recvmmsg(2). It must not block: during a raw system call
// the thread keeps its P, and the garbage collector waits for it.
func receiveMessages(fd int, messages []unix.Mmsghdr, flags int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
