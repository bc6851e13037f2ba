package srttest

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"srtrelay/wire"
)

// Counters counts one end of an established session. Data counters take no
// notice of packet filter packets (message number 0), which repeat sequence
// numbers.
type Counters struct {
	Sent, SentBytes uint64 // data packets handed to the kernel, payload bytes
	// Received counts every data packet; those that were neither Duplicated
	// nor Stale were new.
	Received, ReceivedBytes uint64
	Lost                    uint64 // numbers missing between those received
	Duplicated              uint64
	Reordered               uint64 // came late and filled a gap
	Stale                   uint64 // before the ISN, or too far back to judge
	Retransmitted           uint64 // of Received, with the R bit
	Filter                  uint64 // packet filter packets
	Acks, AckAcks, Naks     uint64
	Keepalives, Shutdowns   uint64
	Handshakes              uint64 // handshakes inside the session
	OtherControl            uint64
}

const (
	messageMask     = 1<<26 - 1
	messageSolo     = 3<<30 | 1<<29 // one packet, in order
	retransmitBit   = 1 << 26
	fullAckSize     = wire.HeaderSize + 28
	liteAckSize     = wire.HeaderSize + 4
	smallAckSize    = wire.HeaderSize + 16
	maxMessage      = messageMask
	defaultRTT      = 100_000
	defaultRTTVar   = 50_000
	advertisedSpace = 8192
)

// endpoint is what caller and listener have in common once connected: a peer,
// a clock, sequence numbers and counters. It is part of a Session or a
// Connection. Everything is sent under mu, so that the order of sequence
// numbers is the order on the wire.
type endpoint struct {
	send     func(b []byte, to netip.AddrPort) error
	notifier Notifier
	start    time.Time // of the SRT clock
	done     chan struct{}

	mu             sync.Mutex
	peer           netip.AddrPort
	peerID         uint32
	next, message  uint32
	ackNumber      uint32
	window         window
	counters       Counters
	echoKeepalives bool
	isDone         bool
}

func (e *endpoint) init(peer netip.AddrPort, send func([]byte, netip.AddrPort) error) {
	e.peer, e.send, e.start = peer, send, time.Now()
	e.done = make(chan struct{})
	e.message = 1
}

// establish sets both directions to start at the caller's ISN.
func (e *endpoint) establish(peerID, isn uint32) {
	e.peerID, e.next = peerID, isn
	e.window.start(isn)
}

func (e *endpoint) now() uint32 { return uint32(time.Since(e.start).Microseconds()) }

// PeerID is the peer's socket ID: the destination of what is sent here.
func (e *endpoint) PeerID() uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.peerID
}

// Counters returns the present counts.
func (e *endpoint) Counters() Counters {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counters
}

// Timestamp returns that of a packet that is sent now.
func (e *endpoint) Timestamp() uint32 { return e.now() }

// NextSequence returns the number of the next data packet to send.
func (e *endpoint) NextSequence() uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.next
}

// Done is closed when a SHUTDOWN arrived or the session broke.
func (e *endpoint) Done() <-chan struct{} { return e.done }

// Await returns when cond holds, which it checks after each packet of this session, or when
// ctx ends.
func (e *endpoint) Await(ctx context.Context, cond func() bool) error {
	return e.notifier.Await(ctx, cond)
}

// SendRaw sends b to the peer's address as it is.
func (e *endpoint) SendRaw(b []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.send(b, e.peer)
}

// SendData sends one message of one packet.
func (e *endpoint) SendData(payload []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sendData(payload)
}

func (e *endpoint) sendData(payload []byte) error {
	buf := packets.Get().(*[bufferSize]byte)
	defer packets.Put(buf)
	b := wire.Packet(buf[:wire.HeaderSize])
	binary.BigEndian.PutUint32(b, e.next)
	binary.BigEndian.PutUint32(b[4:], messageSolo|e.message)
	b.SetTimestamp(e.now())
	b.SetDestID(e.peerID)
	if err := e.send(append(b, payload...), e.peer); err != nil {
		return err
	}
	e.next = (e.next + 1) & sequenceMask
	if e.message++; e.message > maxMessage {
		e.message = 1
	}
	e.counters.Sent++
	e.counters.SentBytes += uint64(len(payload))
	return nil
}

// SkipSequence advances the sequence as if n data packets had been sent and
// lost.
func (e *endpoint) SkipSequence(n uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next = (e.next + n) & sequenceMask
}

// SendControl sends a control packet to the peer; info is its type-specific
// field, cif what follows the header.
func (e *endpoint) SendControl(t wire.ControlType, info uint32, cif []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sendControl(t, info, cif)
}

func (e *endpoint) sendControl(t wire.ControlType, info uint32, cif []byte) error {
	buf := packets.Get().(*[bufferSize]byte)
	defer packets.Put(buf)
	b := buf[:wire.HeaderSize]
	wire.PutControl(b, t, e.now(), e.peerID)
	binary.BigEndian.PutUint32(b[4:], info)
	return e.send(append(b, cif...), e.peer)
}

// padding is what libsrt puts behind the header of an empty control packet.
var padding = make([]byte, 4)

// SendKeepalive sends a KEEPALIVE.
func (e *endpoint) SendKeepalive() error { return e.SendControl(wire.TypeKeepalive, 0, padding) }

// SendShutdown sends a SHUTDOWN. The session stays as it is: close it yourself.
func (e *endpoint) SendShutdown() error { return e.SendControl(wire.TypeShutdown, 0, padding) }

// sendAck acknowledges everything up to the newest packet, because the fakes never ask for a
// retransmission, and nothing beyond it, which would break the peer.
func (e *endpoint) sendAck() {
	e.ackNumber++
	var cif [fullAckSize - wire.HeaderSize]byte
	for i, v := range [...]uint32{e.window.next, defaultRTT, defaultRTTVar, advertisedSpace, 1000, 10000, 1_000_000} {
		binary.BigEndian.PutUint32(cif[4*i:], v)
	}
	e.sendControl(wire.TypeACK, e.ackNumber, cif[:])
}
