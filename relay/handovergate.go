package relay

import (
	"context"
	"errors"
	"sync"
)

// handoverGate holds back what changes this process for good while another one takes over:
// what came after the freeze would be lost, though its client was told that it was done. The
// zero value is open.
type handoverGate struct {
	mu        sync.Mutex
	held      chan struct{} // closed when it is known which process goes on; nil if it is
	elsewhere bool          // it is the other one
}

// errTakenOver says that another process has to be asked.
var errTakenOver = errors.New("another process has taken over")

// hold has enter wait until open.
func (g *handoverGate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		g.held = make(chan struct{})
	}
}

// open says which process goes on.
func (g *handoverGate) open(elsewhere bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.elsewhere = elsewhere
	if g.held != nil {
		close(g.held)
		g.held = nil
	}
}

// enter waits until it is known which process goes on, or ctx ends. It returns errTakenOver if
// that is another one.
func (g *handoverGate) enter(ctx context.Context) error {
	for {
		g.mu.Lock()
		held, elsewhere := g.held, g.elsewhere
		g.mu.Unlock()
		switch {
		case held != nil:
		case elsewhere:
			return errTakenOver
		default:
			return nil
		}
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
