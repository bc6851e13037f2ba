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
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/wire"
)

const (
	// Interval is the time between two probes of one backend.
	Interval = time.Second
	// answerWithin is far beyond a round trip inside a cluster.
	answerWithin = 500 * time.Millisecond
	// misses in a row take a backend down: one or two lost datagrams do not.
	misses = 3
	// afterMiss is how soon a doubt is followed up.
	afterMiss = 100 * time.Millisecond
)

// Prober probes the backends of a registry for as long as it runs.
type Prober struct {
	registry *backend.Registry
	log      *slog.Logger
	ask      func(context.Context, netip.AddrPort) (keyLen uint16, err error)
}

// New returns a prober for the backends that the registry holds.
func New(r *backend.Registry, log *slog.Logger) *Prober {
	return &Prober{registry: r, log: log, ask: Ask}
}

// Run probes until ctx ends. ready, if not nil, is called once when every
// backend has been probed.
func (p *Prober) Run(ctx context.Context, ready func()) {
	var loops, first sync.WaitGroup
	for _, b := range p.registry.Snapshot().Backends {
		first.Add(1)
		loops.Go(func() { p.watch(ctx, b.ID, first.Done) })
	}
	if ready != nil {
		loops.Go(func() {
			first.Wait()
			ready()
		})
	}
	loops.Wait()
}

// watch probes one backend.
func (p *Prober) watch(ctx context.Context, id backend.ID, first func()) {
	missed := 0
	tellFirst := sync.OnceFunc(first)
	defer tellFirst()
	for {
		b, ok := p.registry.Snapshot().Find(id)
		if !ok || ctx.Err() != nil {
			return
		}
		wait := Interval
		keyLen, err := p.ask(ctx, b.Addr)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			missed = 0
			if p.registry.Alive(id, keyLen, time.Now()) {
				p.log.Info("backend alive", "backend", string(id), "address", b.Addr, "key_length", int(keyLen)*8)
			}
		default:
			if missed++; missed < misses {
				wait = afterMiss
			} else if p.registry.Down(id) || missed == misses && b.Answered.IsZero() {
				p.log.Warn("backend down", "backend", string(id), "address", b.Addr, "error", err)
			}
		}
		tellFirst()
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// errNonsense is an answer that is no reply to the INDUCTION.
var errNonsense = errors.New("answered, but not as an SRT listener does")

// Ask sends one INDUCTION and returns the advertised key length (0, 2, 3, 4).
// An answer must echo the nonce of the request, so that nobody off the path
// can speak for the backend.
func Ask(ctx context.Context, to netip.AddrPort) (keyLen uint16, err error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return 0, fmt.Errorf("probe %s: %w", to, err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(answerWithin))
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })()
	id, nonce := rand.Uint32()|1, handshake.NewNonce(rand.Uint32())
	request := handshake.AppendInduction(nil, id, nonce, to.Addr())
	if _, err := conn.Write(request); err != nil {
		return 0, fmt.Errorf("probe %s: %w", to, err)
	}
	nonsense := false
	for buffer := make([]byte, wire.MaxPayload); ; {
		n, err := conn.Read(buffer)
		switch {
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
