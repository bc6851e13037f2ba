// Package udp opens sockets, receives and sends batches of datagrams, and waits
// for more. It is the only package of the relay that makes raw system calls: no
// other imports golang.org/x/sys/unix, unsafe or go-reuseport. It works on Linux;
// elsewhere it compiles, and every open returns an error.
//
// It moves bytes between addresses. Its callers know what the bytes mean, which
// session they belong to and what to do about an error. It has no goroutine, no
// log and no clock.
//
// It also maps files that belong to one process (PrivateFile) and sets the
// priority and the CPUs of threads.
//
// Terms, from small to large:
//
//	datagram     one UDP payload
//	segment      a datagram inside a superpacket or train
//	train        equal-sized datagrams of one flow that the kernel received as
//	             one (UDP_GRO, Linux 5.0); its stride is the segment size
//	entry        a datagram put on an outbox
//	run          entries to one destination that leave together, in order
//	superpacket  a run of several entries, sent as one message (UDP_SEGMENT,
//	             Linux 4.18)
//	message      what the kernel takes as one: a datagram or a superpacket
//	chunk        the messages of one sendmmsg call
//	batch        the messages of one recvmmsg call
//
// All values belong to one shard, whose goroutine alone uses them, except for
// Poller.Wake and PrivateFile.
package udp

import (
	"errors"

	"srtrelay/addr"
)

// Options are the choices that hold for every socket of a relay.
type Options struct {
	// RecvBuf and SendBuf are the buffer sizes to ask for, in bytes per
	// socket; 0 leaves the kernel's default. The kernel may grant less:
	// Socket.GrantedBuffers returns what it granted.
	RecvBuf, SendBuf int
	// GRO and GSO allow the offloads. False keeps them off even where the
	// kernel has them, for kernels and cards with bugs.
	GRO, GSO bool
	// Steer sends a front group's datagrams to the member whose shard runs on
	// the CPU that took them off the card: Steer[i] is the CPU of member i.
	// Datagrams from any other CPU, and all with an empty Steer, go by the
	// kernel's flow hash.
	//
	// Steering keeps a packet's memory within one core. It needs a host where a
	// flow always arrives on the same CPU: the card's queues are pinned, and
	// neither RPS nor irqbalance moves them. A flow that moves to another CPU
	// moves to another shard, which does not know it.
	Steer []int
}

// Datagram is one received message: a datagram or a train of them. It is a view
// of a batch, valid until the batch's next Receive.
type Datagram struct {
	// Data is one datagram, or a train of Stride-sized ones of which the last
	// may be shorter. Its capacity is clipped to its length.
	Data []byte
	// Stride is the length of each datagram in Data: len(Data) for a single
	// one, and 0 only if Data is empty.
	Stride int
	// From is the sender.
	From addr.AddrPort
	// Local is the address that the sender dialled, or zero if the socket is
	// bound to a specific address. A link-local one contains the interface that
	// it was dialled on (addr.IP.Scoped).
	Local addr.IP
	// Truncated means that Data is not all that was sent.
	Truncated bool
}

// Outcome counts what became of the datagrams of an outbox. Each datagram counts
// once: in Sent, or under one of the four reasons.
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

// Kind says what an error means for the destination of a datagram.
type Kind uint8

// Kinds of errors.
const (
	// KindOther is any other error.
	KindOther Kind = iota
	// KindRefused is ICMP port unreachable: the host is up, and nothing listens
	// on the port.
	KindRefused
	// KindUnreachable means that there is no route to the host, or that a
	// policy forbids it.
	KindUnreachable
	// KindTooBig is a datagram longer than the path's MTU.
	KindTooBig
)

// Refusal is one entry of a socket's error queue.
type Refusal struct {
	// From is the destination of the failed datagram, not the router that
	// reported it.
	From addr.AddrPort
	// Quoted is the part of the payload that the report quotes, which may be
	// empty. It is valid until the callback returns.
	Quoted []byte
	Kind   Kind
}

// Queues describes a socket's queues in the kernel.
type Queues struct {
	// Receive and Send are the bytes of kernel memory in the two queues. A
	// receive queue that stays full loses datagrams.
	Receive, Send int
	// Dropped is how many datagrams found no room in the receive queue since
	// the previous call of Queues.
	Dropped uint32
}

// The reasons for which OpenPrivate refuses a file.
var (
	ErrLocked     = errors.New("another process that runs has it")
	ErrNotPrivate = errors.New("not a regular file of this user with mode 0600")
	ErrOnDisk     = errors.New("not on a tmpfs, where a store never waits for a disk")
)
