// Package udp is sockets, batches of datagrams and the wait for more, on Linux.
// It is the one package that speaks to the kernel: no other imports
// golang.org/x/sys/unix, unsafe or go-reuseport.
//
// It moves bytes between addresses. What the bytes mean, which session they
// belong to and what to do about an error is for its callers; it has no
// goroutine, no log and no clock.
//
// Beside sockets it maps files that belong to one process (PrivateFile).
//
// Words, from small to large:
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
// Everything here belongs to one shard and is used by its goroutine alone,
// except Poller.Wake and PrivateFile.
package udp
