package takeover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"srtrelay/internal/supervise"
)

// Giver offers what this process has to the one that will replace it.
type Giver struct {
	offer      Offer
	log        *slog.Logger
	supervisor *supervise.Supervisor
	endpoint   *endpoint
	tasks      *supervise.Tasks
	busy       atomic.Bool // during a take-over
	left       atomic.Bool // after one
}

// Listen begins to listen at path, with mode 0600. Its file must not exist, or be what an
// ended process has left: ErrBusy says that somebody answers there. The caller calls Run.
func Listen(path string, offer Offer, log *slog.Logger, s *supervise.Supervisor) (*Giver, error) {
	return listen(path, false, offer, log, s)
}

func listen(path string, replace bool, offer Offer, log *slog.Logger, s *supervise.Supervisor) (*Giver, error) {
	e, err := publish(path, replace)
	if err != nil {
		return nil, fmt.Errorf("take-over socket: %w", err)
	}
	return &Giver{offer: offer, log: log, supervisor: s, endpoint: e, tasks: s.Tasks()}, nil
}

// Run answers new processes, one after the other, until ctx ends or one has taken over.
// Then it removes the socket, unless its name is the new process's by now. If ctx ends
// while a taker has what it took, that taker keeps it.
func (g *Giver) Run(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	for ctx.Err() == nil {
		g.accept(ctx, end)
	}
	g.tasks.Wait()
	if g.left.Load() {
		_ = g.endpoint.listener.Close()
		return
	}
	g.endpoint.close()
}

// accept answers processes until ctx ends or the listener is replaced.
func (g *Giver) accept(ctx context.Context, end context.CancelFunc) {
	listener := g.endpoint.listener
	defer context.AfterFunc(ctx, func() { _ = listener.SetDeadline(time.Unix(1, 0)) })()
	for {
		c, err := listener.AcceptUnix()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			if c != nil {
				_ = c.Close()
			}
			return
		case err != nil:
			g.log.Warn("a new process could not connect for a take-over", "error", err)
			pause(ctx, time.Second)
		case !g.busy.CompareAndSwap(false, true):
			refuse(newConn(c), errors.New("another take-over is under way"))
		default:
			g.tasks.Go("take-over", func() {
				h := &handover{Giver: g, conn: newConn(c), step: kindHello, taker: process{pidfd: -1, killSwitch: -1}}
				defer func() { h.taker.close() }()
				left := h.run(ctx)
				g.left.Store(left)
				g.busy.Store(false)
				if left {
					end()
					return
				}
				h.seeOff(ctx)
			})
		}
	}
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-limited.Done()
}

// refuse sends the reason and closes the connection. The other process may be gone.
func refuse(c *conn, reason error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.send(ctx, &message{Kind: kindRefused, Reason: reason.Error()})
	c.close()
}

// handover is one take-over, as the giver sees it.
type handover struct {
	*Giver
	conn      *conn
	taker     process
	step      kind // under way
	begun     bool // Offer.Files has been called, and Resume is due after a failure
	committed bool // COMMITTED has been sent, perhaps without success
}

// run carries out a take-over. It returns true if this process ends by it.
func (h *handover) run(ctx context.Context) (left bool) {
	if err := h.protect(ctx, h.untilCommit); err != nil {
		refuse(h.conn, err)
		err = fmt.Errorf("%s at %s: %w", &h.taker, h.step, err)
		if h.committed {
			// COMMITTED could not be sent, or may have been.
			return h.takeBack(ctx, err)
		}
		if h.begun {
			h.offer.Resume(err)
		}
		h.log.Warn("take-over failed, this process goes on", "error", err)
		return false
	}
	err := h.protect(ctx, h.probation)
	switch {
	case err == nil:
		h.log.Info("taken over, this process ends", "by", h.taker.pid)
	case ctx.Err() != nil:
		h.log.Info("this process was stopped, the new one goes on", "by", h.taker.pid)
	default:
		h.conn.close()
		return h.takeBack(ctx, fmt.Errorf("%s in its probation: %w", &h.taker, err))
	}
	h.conn.close()
	h.offer.Leave(h.taker.pid)
	return true
}

// seeOff ends a taker that has failed but does not end by itself: it would keep the sockets
// bound after this process has closed them.
func (h *handover) seeOff(ctx context.Context) {
	if !h.begun || h.taker.waitDead(ctx, seeOffTimeout) == nil || ctx.Err() != nil {
		return
	}
	h.log.Warn("the new process has not ended after the failure, and is killed", "pid", h.taker.pid)
	if err := h.taker.kill(ctx); err != nil {
		h.log.Error("the new process cannot be killed, end it", "pid", h.taker.pid, "error", err)
	}
}

// protect calls steps, whose panics become errors.
func (h *handover) protect(ctx context.Context, do func(context.Context) error) (err error) {
	if caught := h.supervisor.Protect("take-over", func() { err = do(ctx) }); caught != nil {
		return caught
	}
	return err
}

// within calls a step that may take a time.
func (h *handover) within(ctx context.Context, d time.Duration, step kind, do func(context.Context) error) error {
	h.step = step
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return do(limited)
}

// untilCommit takes the steps up to COMMITTED. After an error the taker has no right to
// anything, except if committed is set.
func (h *handover) untilCommit(ctx context.Context) (err error) {
	if h.taker, err = peerOf(h.conn.unix); err != nil {
		return err
	}
	// The end of PID 1 ends all processes in its namespace, of which a taker with a PID here
	// is one.
	if os.Getpid() == 1 && h.taker.pid != 0 {
		return errors.New("this process is PID 1 of its container, and the container would end with it: " +
			"start a new container instead (--takeover auto)")
	}
	version := 0
	if err := h.within(ctx, helloTimeout, kindHello, func(ctx context.Context) error {
		version, err = h.greet(ctx)
		return err
	}); err != nil {
		return err
	}
	if err := h.within(ctx, helloTimeout, kindFiles, h.sendAll); err != nil {
		return err
	}
	if err := h.within(ctx, readyTimeout, kindReady, h.await(kindReady)); err != nil {
		return err
	}
	if err := h.within(ctx, freezeTimeout, kindSnapshot, func(ctx context.Context) error { return h.freeze(ctx, version) }); err != nil {
		return err
	}
	if err := h.within(ctx, takenTimeout, kindTaken, h.await(kindTaken)); err != nil {
		return err
	}
	h.offer.Park(h.taker.pid)
	// Who stops this process from here on stops one that has given everything away.
	return h.within(context.WithoutCancel(ctx), helloTimeout, kindCommitted, func(ctx context.Context) error {
		h.committed = true
		return h.conn.send(ctx, &message{Kind: kindCommitted})
	})
}

// greet reads HELLO and answers it. It returns the version of the snapshot.
func (h *handover) greet(ctx context.Context) (version int, err error) {
	hello, fds, err := h.conn.receive(ctx, kindHello)
	if err != nil {
		return 0, err
	}
	h.taker.killSwitch = fds[0]
	welcome, err := h.offer.welcome(hello)
	if err != nil {
		return 0, err
	}
	h.log.Info("a new process takes over", "pid", h.taker.pid, "version", hello.Version)
	return welcome.Snapshots[0], h.conn.send(ctx, welcome)
}

// sendAll sends the files.
func (h *handover) sendAll(ctx context.Context) error {
	h.begun = true
	files, err := h.offer.Files()
	defer CloseFiles(files)
	if err != nil {
		return err
	}
	return h.conn.sendFiles(ctx, files)
}

// await returns a step that waits for a message.
func (h *handover) await(k kind) func(context.Context) error {
	return func(ctx context.Context) error {
		_, _, err := h.conn.receive(ctx, k)
		return err
	}
}

// freeze stops this process and sends its state.
func (h *handover) freeze(ctx context.Context, version int) error {
	began := monotonic()
	state, err := h.offer.Freeze(ctx, version)
	defer CloseFiles(state.Files)
	if err != nil {
		return err
	}
	if err := h.conn.sendFiles(ctx, state.Files); err != nil {
		return err
	}
	return h.conn.sendParts(ctx, h.supervisor, state.Parts, int64(began))
}

// probation waits for SETTLED. It returns an error if the taker does not prove that it
// works.
func (h *handover) probation(ctx context.Context) error {
	for end := time.Now().Add(probationTimeout); time.Now().Before(end); {
		m, err := h.hear(ctx)
		switch {
		case err != nil:
			return err
		case m.Kind == kindSettled:
			return nil
		}
	}
	h.log.Warn("the new process has never settled, and is left alone as it works", "pid", h.taker.pid)
	return nil
}

// hear waits for a proof. If time is over it may be this process that had no CPU, so it
// looks once more at what has come.
func (h *handover) hear(ctx context.Context) (m *message, err error) {
	for _, wait := range []time.Duration{aliveTimeout, AliveEvery} {
		limited, cancel := context.WithTimeout(ctx, wait)
		m, _, err = h.conn.receive(limited, kindAlive, kindSettled)
		cancel()
		if !errors.Is(err, errNoAnswer) {
			return m, err
		}
	}
	return nil, err
}

// takeBack has this process go on after the commit. The taker must be dead before: two
// processes that read the same sockets would reorder datagrams. It returns true if this
// process ends.
func (h *handover) takeBack(ctx context.Context, why error) (left bool) {
	h.log.Error("the new process has failed, this one goes on as soon as it is dead", "error", why)
	if err := h.taker.kill(ctx); err != nil {
		h.log.Error("the new process is not dead, so this one ends", "error", err)
		h.offer.Leave(h.taker.pid)
		return true
	}
	if !h.endpoint.ours() {
		if e, err := publish(h.endpoint.path, true); err != nil {
			h.log.Error("there will be no further take-over", "error", err)
		} else {
			old := h.endpoint.listener
			h.endpoint = e // before accept returns, which reads it
			_ = old.Close()
		}
	}
	h.offer.Resume(why)
	h.log.Warn("take-over failed, this process goes on", "error", why)
	return false
}
