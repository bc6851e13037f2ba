package srttest

import (
	"sync"
	"sync/atomic"
	"time"

	"srtrelay/wire"
)

// Mode is what a Listener does on established connections.
type Mode int32

const (
	// Sink counts what arrives.
	Sink Mode = iota
	// Echo sends the payload of each new data packet back, under sequence
	// numbers of its own.
	Echo
	// Source sends paced data, as a player's backend does.
	Source
)

// Lie is a way to answer a handshake wrongly.
type Lie int32

const (
	// Honest answers as libsrt does.
	Honest Lie = iota
	// WrongDestID addresses the answer to the socket ID next to the caller's.
	WrongDestID
	// WrongISN answers with another ISN than the caller's.
	WrongISN
	// Garbage is random bytes, but for a destination ID that leads to the caller.
	Garbage
	// Truncated ends the answer within the control information field.
	Truncated
)

// Behaviour is how a Listener behaves and misbehaves. Every switch may be
// thrown while it runs, from any goroutine; the zero value behaves.
type Behaviour struct {
	silent, silentInduction, silentConclusion atomic.Bool
	otherPort, acks, echoKeepalives           atomic.Bool
	closeAtOnce                               atomic.Bool
	slow                                      atomic.Int64
	dropFirst, dataFirst                      atomic.Int64
	lie, inductionLie                         atomic.Int32
	keyLen                                    atomic.Int32
	fixedID                                   atomic.Uint32
	cookieEpoch                               atomic.Uint64

	mu         sync.Mutex
	rejectWith uint32
	rejections int // left; negative = for ever
}

// Silent answers nothing at all and looks at nothing but handshakes, which are
// still logged: a black hole that takes notes.
func (b *Behaviour) Silent(on bool) { b.silent.Store(on) }

// SilentInduction answers no INDUCTION.
func (b *Behaviour) SilentInduction(on bool) { b.silentInduction.Store(on) }

// SilentConclusion answers no CONCLUSION and makes no connection.
func (b *Behaviour) SilentConclusion(on bool) { b.silentConclusion.Store(on) }

// SlowBy handles each handshake that much later; 0 at once.
func (b *Behaviour) SlowBy(d time.Duration) { b.slow.Store(int64(d)) }

// CloseAtOnce sends a SHUTDOWN right behind each first CONCLUSION response, as a
// server does whose hook refuses the caller that it has accepted.
func (b *Behaviour) CloseAtOnce(on bool) { b.closeAtOnce.Store(on) }

// DropFirst loses the next n datagrams before anyone sees them.
func (b *Behaviour) DropFirst(n int) { b.dropFirst.Store(int64(n)) }

// Reject answers each new CONCLUSION with a wire code; 0 accepts again.
func (b *Behaviour) Reject(code uint32) { b.RejectTimes(code, -1) }

// RejectTimes rejects the next n CONCLUSIONs, then accepts.
func (b *Behaviour) RejectTimes(code uint32, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rejectWith, b.rejections = code, n
}

func (b *Behaviour) rejection() (code wire.HandshakeType, yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rejectWith == 0 || b.rejections == 0 {
		return 0, false
	}
	if b.rejections > 0 {
		b.rejections--
	}
	return wire.HandshakeType(b.rejectWith), true
}

// Lie spoils the CONCLUSION responses.
func (b *Behaviour) Lie(l Lie) { b.lie.Store(int32(l)) }

// LieInInduction spoils the INDUCTION replies.
func (b *Behaviour) LieInInduction(l Lie) { b.inductionLie.Store(int32(l)) }

// DataBeforeResponse sends n data packets ahead of the first CONCLUSION
// response of each connection.
func (b *Behaviour) DataBeforeResponse(n int) { b.dataFirst.Store(int64(n)) }

// AnswerFromOtherPort sends everything from a second port, like a multi-homed
// backend without PKTINFO.
func (b *Behaviour) AnswerFromOtherPort(on bool) { b.otherPort.Store(on) }

// Ack acknowledges every 16th data packet.
func (b *Behaviour) Ack(on bool) { b.acks.Store(on) }

// EchoKeepalives answers each KEEPALIVE with one.
func (b *Behaviour) EchoKeepalives(on bool) { b.echoKeepalives.Store(on) }

// AdvertiseKeyLen is the key length in the INDUCTION reply, in bytes; 0 none.
func (b *Behaviour) AdvertiseKeyLen(bytes int) { b.keyLen.Store(int32(bytes)) }

// FixID gives every new connection this socket ID, so that two backends, or
// two connections of one, hand out equal ones; 0 counts down from a random
// one, as libsrt does.
func (b *Behaviour) FixID(id uint32) { b.fixedID.Store(id) }

// ExpireCookies makes all cookies handed out so far invalid, as two minutes do.
func (b *Behaviour) ExpireCookies() { b.cookieEpoch.Add(1) }

// takeDrop reports whether the datagram at hand is one of DropFirst.
func (b *Behaviour) takeDrop() bool {
	for {
		n := b.dropFirst.Load()
		if n <= 0 {
			return false
		}
		if b.dropFirst.CompareAndSwap(n, n-1) {
			return true
		}
	}
}
