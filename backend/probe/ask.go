// Package probe sends every backend an SRT INDUCTION, which a listener answers
// without keeping state. The answer shows that the backend is alive, and which key
// length it advertises; a backend that does not answer gets no streams.
//
// It must not know sessions. It has its own sockets, off the data path.
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
	// answerTimeout is far above a round trip inside a cluster.
	answerTimeout = 500 * time.Millisecond
	// repeatInterval and repeats are how soon and how often an unanswered
	// INDUCTION is repeated: a backend that comes up is found before the next
	// probe.
	repeatInterval, repeats = 150 * time.Millisecond, 2
	// finalRead is the time to read an answer that waits in the socket after
	// the timeout: this process may have been stopped since it arrived.
	finalRead = 10 * time.Millisecond
	// stallMargin is by how much a probe must exceed answerTimeout to show that
	// this process was stopped meanwhile.
	stallMargin = 250 * time.Millisecond
)

// errInvalidReply means an answer that is no reply to the INDUCTION.
var errInvalidReply = errors.New("answered, but not as an SRT listener does")

// errLocal means a failure of this host, which says nothing about the backend.
var errLocal = errors.New("cannot ask")

// errStalled means a missing answer that this process may have caused: it was
// stopped, by a signal or by a host that gave its CPU to others.
var errStalled = errors.New("stopped while it waited for an answer")

// localFault marks an error of this host's own: without descriptors or buffers
// every backend would seem dead at once.
func localFault(err error) error {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", errLocal, err)
		}
	}
	return err
}

// ask sends an INDUCTION, repeats it while it is not answered, and returns the
// advertised key length (0, 2, 3 or 4). An answer must echo the nonce of the
// request, so that a host off the path cannot forge it.
func ask(ctx context.Context, to netip.AddrPort) (keyLen uint16, err error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return 0, fmt.Errorf("probe %s: %w", to, localFault(err))
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(answerTimeout))
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })()
	id, nonce := rand.Uint32()|1, handshake.NewNonce(rand.Uint32())
	request := handshake.AppendInduction(nil, id, nonce, to.Addr())
	if _, err := conn.Write(request); err != nil {
		return 0, fmt.Errorf("probe %s: %w", to, localFault(err))
	}
	for n := range repeats {
		again := time.AfterFunc(time.Duration(n+1)*repeatInterval, func() { _, _ = conn.Write(request) })
		defer again.Stop()
	}
	nonsense, last := false, false
	for buffer := make([]byte, wire.MaxPayload); ; {
		n, err := conn.Read(buffer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !last && ctx.Err() == nil:
			last = true
			_ = conn.SetReadDeadline(time.Now().Add(finalRead))
			continue
		case err != nil && nonsense:
			return 0, fmt.Errorf("probe %s: %w", to, errInvalidReply)
		case errors.Is(err, syscall.ECONNREFUSED):
			return 0, fmt.Errorf("probe %s: %w", to, syscall.ECONNREFUSED)
		case err != nil:
			return 0, fmt.Errorf("probe %s: no answer within %v", to, answerTimeout)
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
