package takeover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/internal/supervise"
)

// Taker takes everything over from a running process. One goroutine calls its methods, in
// the order Files, Snapshot, Commit, Settle. After an error before the commit the process
// must not serve callers; Abandon tells the giver why.
type Taker struct {
	path       string
	supervisor *supervise.Supervisor
	conn       *conn
	giver      Peer
	version    int // of the snapshot
	files      []File
	killSwitch killSwitch
	once       sync.Once
}

// Connect asks the process that listens at path for everything. The error is ErrNobody
// if there is none.
func Connect(ctx context.Context, path string, hello Hello, s *supervise.Supervisor) (*Taker, error) {
	var dialer net.Dialer
	limited, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	c, err := dialer.DialContext(limited, network, path)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("take-over: %s: %w", path, ErrNobody)
	case err != nil:
		return nil, fmt.Errorf("take-over: %w", err)
	}
	t := &Taker{path: path, supervisor: s, conn: newConn(c.(*net.UnixConn)), killSwitch: killSwitch{-1, -1}}
	t.giver.PID = giverPID(t.conn.unix)
	if err := t.greet(limited, hello); err != nil {
		return nil, t.fail(kindHello, err)
	}
	limited, cancel = context.WithTimeout(ctx, 2*helloTimeout)
	defer cancel()
	if t.files, err = t.conn.receiveFiles(limited); err != nil {
		return nil, t.fail(kindFiles, err)
	}
	return t, nil
}

// giverPID is 0 if the giver is in another PID namespace.
func giverPID(c *net.UnixConn) (pid int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

// greet sends HELLO and reads the answer.
func (t *Taker) greet(ctx context.Context, hello Hello) (err error) {
	if t.killSwitch, err = armKillSwitch(); err != nil {
		return err
	}
	err = t.conn.send(ctx, hello.hello(), t.killSwitch.trigger)
	t.killSwitch.closeTrigger()
	if err != nil {
		return err
	}
	m, _, err := t.conn.receive(ctx, kindWelcome)
	switch {
	case err != nil:
		return err
	case m.Min != m.Max || m.Min < protocolMin || m.Max > protocolMax:
		return fmt.Errorf("it chose version %d of the protocol", m.Max)
	case len(m.Snapshots) != 1 || !slices.Contains(hello.Snapshots, m.Snapshots[0]):
		return fmt.Errorf("it chose version %v of the snapshot", m.Snapshots)
	}
	t.giver.Version, t.giver.Settings, t.version = m.Version, m.Settings, m.Snapshots[0]
	return nil
}

// fail ends the take-over with an error.
func (t *Taker) fail(step kind, err error) error {
	t.Abandon(err)
	return fmt.Errorf("take-over from %s at %s: %w", t.giver, step, err)
}

// Giver returns the process that gives.
func (t *Taker) Giver() Peer { return t.giver }

// Files returns the descriptors. From the first call on they are the caller's.
func (t *Taker) Files() []File {
	files := t.files
	t.files = nil
	return files
}

// Snapshot says that this process is ready, so that the giver freezes, and returns the
// giver's state. The descriptors in it are the caller's. From here on callers wait.
func (t *Taker) Snapshot(ctx context.Context) (Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := t.conn.send(ctx, &message{Kind: kindReady}); err != nil {
		return Snapshot{}, t.fail(kindReady, err)
	}
	files, err := t.conn.receiveFiles(ctx)
	if err != nil {
		return Snapshot{}, t.fail(kindSnapshot, err)
	}
	parts, frozenAt, err := t.conn.receiveParts(ctx, t.supervisor)
	if err != nil {
		CloseFiles(files)
		return Snapshot{}, t.fail(kindSnapshot, err)
	}
	return Snapshot{t.version, time.Duration(frozenAt), Frozen{parts, files}}, nil
}

// Commit says that everything has been restored. If it returns nil everything is this
// process's, which must serve callers at once. After an error it must not.
func (t *Taker) Commit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := t.conn.send(ctx, &message{Kind: kindTaken}); err != nil {
		return t.fail(kindTaken, err)
	}
	if _, _, err := t.conn.receive(ctx, kindCommitted); err != nil {
		return t.fail(kindCommitted, err)
	}
	return nil
}

// Abandon ends the take-over and tells the giver the reason. Before the commit the giver
// goes on at once, after it when this process is dead: it kills it. It may be called while
// Settle runs.
func (t *Taker) Abandon(reason error) {
	t.once.Do(func() {
		refuse(t.conn, reason)
		t.killSwitch.close()
		CloseFiles(t.Files())
	})
}

// Settle proves to the giver for Probation that this process works, by alive, which is
// called every AliveEvery. Then it replaces the giver's socket by its own, with this
// process as the next giver, and has the giver leave. If this process fails before that
// it must end without telling callers: the giver goes on.
//
// An error never means that this process must not go on: giver is nil if no socket could
// be opened, and if the old process ended early the error says so. If ctx ends, because
// this process is stopped, the giver leaves at once.
func (t *Taker) Settle(ctx context.Context, alive func() bool, offer Offer, log *slog.Logger) (giver *Giver, err error) {
	defer t.once.Do(func() {
		t.conn.close()
		t.killSwitch.close()
	})
	lost := t.prove(ctx, alive)
	if ctx.Err() == nil {
		giver, err = listen(t.path, true, offer, log, t.supervisor)
	}
	if lost == nil {
		limited, cancel := context.WithTimeout(context.Background(), helloTimeout)
		defer cancel()
		lost = t.conn.send(limited, &message{Kind: kindSettled})
	}
	if lost != nil {
		lost = fmt.Errorf("%s has gone before this process had settled: %w", t.giver, lost)
	}
	return giver, errors.Join(err, lost)
}

// prove sends proofs for Probation. It returns an error if the giver does not read them.
func (t *Taker) prove(ctx context.Context, alive func() bool) error {
	ticker := time.NewTicker(AliveEvery)
	defer ticker.Stop()
	for end := time.Now().Add(Probation); time.Now().Before(end) && ctx.Err() == nil; {
		if alive() {
			limited, cancel := context.WithTimeout(context.Background(), aliveTimeout)
			err := t.conn.send(limited, &message{Kind: kindAlive})
			cancel()
			if err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	return nil
}
