package relay

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"srtrelay/api"
)

// A reload that is asked of this process while another one takes over is to reach the one that
// goes on. Until the freeze this process reloads, and the other one, which may have read its
// files before, learns from the snapshot that it has to read them again. From the freeze on a
// reload waits, and is then passed on, or done here if the take-over has failed.

// processBegan is before this process has read its files.
var processBegan = time.Now()

// reloadHandover is the part of a reloads that knows of a take-over.
type reloadHandover struct {
	asked     time.Time   // when a reload was last asked for
	successor *os.Process // the process that has taken over; nil if it is in another PID namespace
	elsewhere bool        // it was to reload since
}

// handOver names the process to which reloads are passed on, which is alive; 0 for one in another
// PID namespace.
func (l *reloads) handOver(pid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if pid != 0 {
		l.successor, _ = os.FindProcess(pid) // by a pidfd: no other process can get the signal
	}
}

// takeBack has this process reload if the one that has died was to, whether it could be told or not.
func (l *reloads) takeBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.successor != nil {
		_ = l.successor.Release()
	}
	if l.elsewhere {
		l.again()
	}
	l.successor, l.elsewhere = nil, false
}

// again has follow reload.
func (l *reloads) again() {
	select {
	case l.hup <- syscall.SIGHUP:
	default: // it will anyway
	}
}

// admit waits while it is not known which process goes on. It passes the reload on and returns
// errTakenOver if that is another one.
func (l *reloads) admit(ctx context.Context) error {
	l.mu.Lock()
	l.asked = time.Now() // before enter: either the snapshot has it, or enter waits
	l.mu.Unlock()
	err := l.relay.gate.enter(ctx)
	switch {
	case errors.Is(err, errTakenOver):
		l.passOn()
	case err != nil:
		return api.ErrReloading
	}
	return err
}

// passOn has the process that has taken over reload.
func (l *reloads) passOn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.elsewhere = true
	err := errors.New("it is in another PID namespace: send SIGHUP there")
	if l.successor != nil {
		err = l.successor.Signal(syscall.SIGHUP)
	}
	if err != nil {
		l.relay.log.Error("configuration not reloaded: another process has taken over, and cannot be told", "error", err)
		return
	}
	l.relay.log.Info("reload passed on to the process that has taken over", "pid", l.successor.Pid)
}
