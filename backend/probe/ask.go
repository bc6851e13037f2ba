// Package probe asks every backend for a sign of life: an SRT INDUCTION, which
// a listener answers without keeping anything. The answer tells that it is
// alive and which key length it advertises; silence, that it takes no streams.
//
// It must not know sessions. It has sockets of its own, off the data path.
package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"srtrelay/handshake"
	"srtrelay/wire"
)

const (
	// answerWithin is far beyond a round trip inside a cluster.
	answerWithin = 500 * time.Millisecond
	// repeatAfter is when, and how often, an INDUCTION that was not answered is
	// repeated: a backend that comes up is found before the next probe.
	repeatAfter, repeats = 150 * time.Millisecond, 2
	// lastLook is for an answer that waits in the socket when time is up: this
	// process may have been stopped since it came.
	lastLook = 10 * time.Millisecond
	// lateBy is by how much a miss that takes longer than answerWithin shows
	// that this process was stopped meanwhile.
	lateBy = 250 * time.Millisecond
)

// errNonsense is an answer that is no reply to the INDUCTION.
var errNonsense = errors.New("answered, but not as an SRT listener does")

// errOwn is a failure on this side, which says nothing of the backend.
var errOwn = errors.New("cannot ask")

// errStopped is a miss of which this process may be the cause: it was stopped,
// by a signal or by a host that gave its CPU to others.
var errStopped = errors.New("stopped while it waited for an answer")

// ownFault marks an error that is this host's own: without descriptors or
// buffers every backend would seem dead at once.
func ownFault(err error) error {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", errOwn, err)
		}
	}
	return err
}

// Ask sends an INDUCTION, repeats it while it is not answered, and returns the advertised key length (0, 2, 3, 4).
// An answer must echo the nonce of the request, so that nobody off the path
// can speak for the backend.
func Ask(ctx context.Context, to netip.AddrPort) (keyLen uint16, err error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return 0, fmt.Errorf("probe %s: %w", to, ownFault(err))
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(answerWithin))
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })()
	id, nonce := rand.Uint32()|1, handshake.NewNonce(rand.Uint32())
	request := handshake.AppendInduction(nil, id, nonce, to.Addr())
	if _, err := conn.Write(request); err != nil {
		return 0, fmt.Errorf("probe %s: %w", to, ownFault(err))
	}
	for n := range repeats {
		again := time.AfterFunc(time.Duration(n+1)*repeatAfter, func() { _, _ = conn.Write(request) })
		defer again.Stop()
	}
	nonsense, last := false, false
	for buffer := make([]byte, wire.MaxPayload); ; {
		n, err := conn.Read(buffer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !last && ctx.Err() == nil:
			last = true
			_ = conn.SetReadDeadline(time.Now().Add(lastLook))
			continue
		case err != nil && nonsense:
			return 0, fmt.Errorf("probe %s: %w", to, errNonsense)
		case errors.Is(err, syscall.ECONNREFUSED):
			return 0, fmt.Errorf("probe %s: %w", to, syscall.ECONNREFUSED)
		case err != nil:
			return 0, fmt.Errorf("probe %s: no answer within %v", to, answerWithin)
		}
		h, ok := wire.AsHandshake(buffer[:n])
		if ok && h.Packet().DestID() == id && handshake.IsInductionReply(h, nonce) {
			return keyLenOf(h), nil
		}
		nonsense = true
	}
}

// keyLenOf returns the advertised key length; only 2, 3 and 4 mean one.
func keyLenOf(h wire.Handshake) uint16 {
	if k := h.Encryption(); h.Version() > 4 && k >= 2 && k <= 4 {
		return k
	}
	return 0
}
