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

// errPassedOn says that another process reloads.
var errPassedOn = errors.New("another process has taken over: it reloads, if it can be told")

// reloadHandover is the part of a reloads that knows of a take-over.
type reloadHandover struct {
	asked     time.Time     // when a reload was last asked for
	held      chan struct{} // reloads wait until it is closed; nil if none waits
	handed    bool          // another process goes on
	successor *os.Process   // that one; nil if it is in another PID namespace
	passedOn  bool          // it was told to reload
}

// hold has reloads wait until handOver or takeBack.
func (l *reloads) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = make(chan struct{})
	}
}

// release ends hold. Called with mu held.
func (l *reloads) release() {
	if l.held != nil {
		close(l.held)
		l.held = nil
	}
}

// handOver passes reloads on to a process, which is alive; 0 for one in another PID namespace.
func (l *reloads) handOver(pid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handed = true
	if pid != 0 {
		l.successor, _ = os.FindProcess(pid) // by a pidfd: no other process can get the signal
	}
	l.release()
}

// takeBack has this process reload again, at once if the dead one had been told to.
func (l *reloads) takeBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.successor != nil {
		_ = l.successor.Release()
	}
	if l.passedOn {
		l.again()
	}
	l.handed, l.successor, l.passedOn = false, nil, false
	l.release()
}

// again has follow reload.
func (l *reloads) again() {
	select {
	case l.hup <- syscall.SIGHUP:
	default: // it will anyway
	}
}

// admit waits while it is not known which process goes on. After an error this one must not
// reload.
func (l *reloads) admit(ctx context.Context) error {
	for {
		l.mu.Lock()
		l.asked = time.Now()
		held, handed := l.held, l.handed
		l.mu.Unlock()
		switch {
		case handed:
			l.passOn()
			return errPassedOn
		case held == nil:
			return nil
		}
		select {
		case <-held:
		case <-ctx.Done():
			return api.ErrReloading
		}
	}
}

// passOn has the process that has taken over reload.
func (l *reloads) passOn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := errors.New("it is in another PID namespace: send SIGHUP there")
	if l.successor != nil {
		err = l.successor.Signal(syscall.SIGHUP)
	}
	if err != nil {
		l.relay.log.Error("configuration not reloaded: another process has taken over, and cannot be told", "error", err)
		return
	}
	l.passedOn = true
	l.relay.log.Info("reload passed on to the process that has taken over", "pid", l.successor.Pid)
}
