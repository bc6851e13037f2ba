package keep

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// exitCannotStart is the exit code of a program that would fail again.
	exitCannotStart = 2
	// steady is how long a process must have run for its end to count as a first failure.
	steady = 10 * time.Second
	// mostMessages bounds the messages of one turn: more than a socket's queue holds, so that
	// all that a process has sent before its end are handled before it.
	mostMessages = 1024
	// killTimeout bounds how long the processes that a dead one has left may take to end.
	killTimeout = 2 * time.Second
)

// keeper is the parent.
type keeper struct {
	Program
	self   int
	socket *socket
	store  store

	main       int  // the process that relays; 0 for none
	ready      bool // it has said so
	began      time.Time
	failures   int  // starts in a row that have not lasted
	mainUnseen bool // the main process has named another one, of a PID namespace that is not seen here
	refused    bool // a message has been refused, and the log says so
	full       bool // as refused, of a descriptor that is not kept

	silent silence

	gone     chan int // a process that has taken over has ended
	stopping bool
	ended    bool
	code     int
	retry    *time.Timer
}

// Run starts the program, and again after each crash, until it ends in order or cannot start,
// or this process is told to end. It returns the program's exit code.
func Run(p Program) (code int, err error) {
	// A process that loses its parent becomes a child of this one: a program that has taken
	// over from the one that started it.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("become a subreaper: %w", err)
	}
	signal.Ignore(syscall.SIGPIPE) // the log's reader may end before this process
	children, signals := make(chan os.Signal, 1), make(chan os.Signal, 16)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR2)
	defer signal.Stop(signals)
	k := &keeper{Program: p, self: os.Getpid(), store: store{most: mostDescriptors}, retry: time.NewTimer(0), gone: make(chan int)}
	if k.socket, err = openSocket(); err != nil {
		return 0, err
	}
	defer k.socket.close()
	defer k.store.clear()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for !k.ended {
		select {
		case <-k.socket.readable:
			k.receive()
			<-k.socket.handled
		case <-children:
			k.receive() // what the dead have sent
			k.reap()
		case pid := <-k.gone:
			k.receive()
			k.reap()
			if pid == k.main { // its parent is another process, which may wait to be stopped
				k.mainEnded(unknownEnd)
			}
		case s := <-signals:
			k.pass(s.(syscall.Signal))
		case <-tick.C:
			k.receive() // a sign of life may have come
			k.watchMain()
		case <-k.retry.C:
			k.start()
		}
	}
	return k.code, nil
}

// start starts the program with what is kept.
func (k *keeper) start() {
	k.began, k.ready, k.mainUnseen, k.silent = time.Now(), false, false, silence{}
	args := append([]string{k.Path}, k.Args...)
	pid, err := syscall.ForkExec(k.Path, args, &syscall.ProcAttr{
		Env:   k.store.environment(k.Env, k.socket.name, k.self),
		Files: k.store.inherited(),
	})
	if err != nil {
		k.Log.Error("the program cannot be started", "program", k.Path, "error", err)
		k.startLater()
		return
	}
	k.main = pid
	k.Log.Info("program started", "pid", pid, "descriptors", len(k.store.all))
}

// startLater starts the program again: at once, unless the last start has failed too.
func (k *keeper) startLater() {
	if k.ready && time.Since(k.began) > steady {
		k.failures = 0
	}
	pause := pauseAfter(k.failures)
	k.failures++
	k.retry.Reset(pause)
	k.Log.Warn("the program is started again", "failed_starts", k.failures, "pause_ms", pause.Milliseconds(), "descriptors", len(k.store.all))
}

// receive handles the messages that have come.
func (k *keeper) receive() {
	for range mostMessages {
		text, fds, sender, ok := k.socket.receive()
		if !ok {
			return
		}
		for _, fd := range k.handle(text, fds, sender) {
			_ = syscall.Close(fd) // for BARRIER=1 the answer
		}
	}
}

// handle handles a message, and returns the descriptors that are not kept.
func (k *keeper) handle(text []byte, fds []int, sender int) []int {
	if sender != k.main && !k.isOurs(sender) {
		if !k.refused {
			k.Log.Warn("a message of a process that is no child is refused", "pid", sender)
			k.refused = true
		}
		return fds
	}
	m := parse(text)
	if m.alive || m.ready {
		k.silent = silence{}
	}
	if m.mainPID > 0 && m.mainPID != k.main {
		k.follow(m.mainPID)
	}
	if m.ready && sender == k.main && !k.ready {
		k.ready = true
		k.Log.Info("program ready", "pid", sender)
	}
	switch {
	case m.name == "":
	case m.remove:
		k.store.remove(m.name)
	case m.store && len(fds) == 1:
		k.put(m.name, fds[0])
		return nil
	case m.store: // the limit of open files of this process
		k.notKept("none has come")
	}
	return fds
}

func (k *keeper) put(name string, fd int) {
	if !k.store.put(name, fd) {
		k.notKept("there are too many")
	}
}

// notKept logs the first descriptor that is not kept.
func (k *keeper) notKept(reason string) {
	if !k.full {
		k.Log.Warn("descriptors of the program are not kept", "reason", reason, "descriptors", len(k.store.all), "most", k.store.most)
		k.full = true
	}
}

// follow makes another process the main one, which has taken over. The one before has said so,
// and has left its sockets to it. One that a shell has started may store what it has only from
// now on; what is kept is of the one before.
func (k *keeper) follow(pid int) {
	switch {
	case k.isOurs(pid):
	case pid <= 1 || parentOf(pid) < 0:
		k.Log.Warn("another process has taken over that is not here: the program is started again when this one ends", "pid", pid)
		k.mainUnseen = true
		return
	default:
		k.Log.Info("a process that is no child has taken over, and is listened to from now on", "pid", pid)
		k.store.clear()
	}
	k.Log.Info("another process has taken over", "pid", pid, "before", k.main)
	k.main, k.ready, k.began, k.mainUnseen = pid, true, time.Now(), false
	if k.stopping { // the process before had the signal, and left at once
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	if err := k.watch(pid); err != nil {
		k.Log.Warn("the end of the process that has taken over may not be noticed", "pid", pid, "error", err)
	}
}

// reap collects the processes that have ended.
func (k *keeper) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil || pid <= 0:
			return
		case pid == k.main:
			k.mainEnded(status)
		}
	}
}

// unknownEnd stands for the status of a process that somebody else has waited for: it was
// killed.
const unknownEnd = syscall.WaitStatus(syscall.SIGKILL)

// mainEnded ends this process too, or starts the program again.
func (k *keeper) mainEnded(status syscall.WaitStatus) {
	pid := k.main
	if rest, found := k.endRest(pid); found {
		status = rest
	}
	k.main, k.code = 0, status.ExitStatus()
	if status.Signaled() {
		k.code = 128 + int(status.Signal())
	}
	if k.stopping || k.code == 0 && !k.mainUnseen || k.code == exitCannotStart {
		k.Log.Info("program ended", "pid", pid, "exit_code", k.code)
		k.ended = true
		return
	}
	k.Log.Error("program crashed", "pid", pid, "exit_code", k.code, "lived_ms", time.Since(k.began).Milliseconds())
	k.startLater()
}

// endRest kills what the main process has left, as systemd does: a process that was about to
// take over would have the same sockets as the next one. It returns the status of the main
// process, if it was the child of one of these.
func (k *keeper) endRest(main int) (status syscall.WaitStatus, found bool) {
	for deadline := time.Now().Add(killTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for {
			var one syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &one, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.ECHILD) {
				return status, found
			}
			if pid == main {
				status, found = one, true
			}
			if pid <= 0 && !errors.Is(err, syscall.EINTR) {
				break
			}
		}
		for _, child := range childrenOf(k.self) {
			_ = syscall.Kill(child, syscall.SIGKILL)
		}
	}
	k.Log.Warn("processes that the program has left do not end", "pids", childrenOf(k.self))
	return status, found
}

// pass passes a signal on to the main process.
func (k *keeper) pass(s syscall.Signal) {
	ends := slices.Contains([]syscall.Signal{syscall.SIGTERM, syscall.SIGINT}, s)
	k.stopping = k.stopping || ends
	switch {
	case k.main != 0 && (ends || k.ready):
		_ = syscall.Kill(k.main, s)
	case ends:
		k.ended = true // between two starts
	default:
		// It would end a program that does not handle it yet.
		k.Log.Warn("a signal is not passed on, the program is not ready", "signal", s.String())
	}
}
