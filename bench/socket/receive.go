//go:build linux

package socket

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// ReceiveMessages is how many datagrams one call returns at most.
	ReceiveMessages = 64
	// bufferSize holds every SRT packet, groSize every GRO packet.
	bufferSize = 2048
	groSize    = 1 << 16
	// controlSize holds an arrival time and a GRO size.
	controlSize = 64
)

// Receiver is the buffers of a receive call. Only one loop uses it; what it returns is valid
// until the next call.
type Receiver struct {
	headers  [ReceiveMessages]unix.Mmsghdr
	vectors  [ReceiveMessages]unix.Iovec
	names    [ReceiveMessages]Address
	controls [ReceiveMessages][controlSize]byte
	size     int
	slab     []byte
	clock    *Clock
	named    bool
}

// NewReceiver makes the buffers. named asks for the senders' addresses, gro makes room for
// GRO packets.
func NewReceiver(c *Clock, named, gro bool) *Receiver {
	r := &Receiver{size: bufferSize, clock: c, named: named}
	if gro {
		r.size = groSize
	}
	r.slab = make([]byte, ReceiveMessages*r.size)
	for i := range r.headers {
		h := &r.headers[i].Hdr
		r.vectors[i].Base = &r.slab[i*r.size]
		r.vectors[i].SetLen(r.size)
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Control = &r.controls[i][0]
		h.SetControllen(controlSize)
		if named {
			h.Name = &r.names[i].raw[0]
			h.Namelen = uint32(len(r.names[i].raw))
		}
	}
	return r
}

// Receive receives from a socket and returns the number of messages, 0 for none.
func (r *Receiver) Receive(fd int) int { return r.receive(fd, ReceiveMessages) }

// ReceiveOne is Receive of one message at most.
func (r *Receiver) ReceiveOne(fd int) int { return r.receive(fd, 1) }

func (r *Receiver) receive(fd int, most uintptr) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.headers[0])),
		most, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		// An ICMP error that the kernel reports here says nothing about the
		// datagrams behind it.
		return 0
	}
	return int(n)
}

// Message returns message i: its bytes, the length of each datagram in it
// (less only for the last) and when it arrived, on CLOCK_MONOTONIC; 0 if the
// kernel did not say. It makes the entry ready for the next call.
func (r *Receiver) Message(i int) (b []byte, stride int, at int64) {
	h := &r.headers[i]
	b = r.slab[i*r.size : i*r.size+int(h.Len)]
	stride = len(b)
	control := r.controls[i][:min(int(h.Hdr.Controllen), controlSize)]
	for len(control) >= unix.SizeofCmsghdr {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		size := int(c.Len)
		if size < unix.SizeofCmsghdr || size > len(control) {
			break
		}
		content := control[unix.SizeofCmsghdr:size]
		switch {
		case c.Level == unix.SOL_SOCKET && c.Type == unix.SCM_TIMESTAMPNS && len(content) >= 16:
			at = r.clock.Monotonic(int64(binary.NativeEndian.Uint64(content))*1e9 + int64(binary.NativeEndian.Uint64(content[8:])))
		case c.Level == unix.IPPROTO_UDP && c.Type == unix.UDP_GRO && len(content) >= 4:
			stride = int(binary.NativeEndian.Uint32(content))
		}
		control = control[min(unix.CmsgSpace(len(content)), len(control)):]
	}
	h.Hdr.SetControllen(controlSize)
	h.Hdr.Flags = 0
	if r.named {
		r.names[i].len = h.Hdr.Namelen
		h.Hdr.Namelen = uint32(len(r.names[i].raw))
	}
	return b, max(stride, 1), at
}

// From returns the sender of message i, after Message.
func (r *Receiver) From(i int) *Address { return &r.names[i] }
