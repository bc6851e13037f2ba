package keep

import (
	"syscall"
	"time"
)

const (
	// abortTimeout is how long it may then take to write its stacks, as TimeoutAbortSec=: the
	// log's reader may be stalled.
	abortTimeout = 10 * time.Second
	// watchEvery is how often it is looked for signs of life.
	watchEvery = time.Second
)

// silence counts in how many turns in a row there was no sign of life. Turns are counted in place of
// time: if the host stops, this process does too, and both have to be given time afterwards.
type silence struct{ turns int }

// next counts a turn, and returns the signal that is due, 0 for none.
func (w *silence) next() syscall.Signal {
	w.turns++
	switch w.turns {
	case int(watchdog / watchEvery):
		return syscall.SIGABRT
	case int((watchdog + abortTimeout) / watchEvery):
		return syscall.SIGKILL
	}
	return 0
}

// watchMain ends a main process that hangs.
func (k *keeper) watchMain() {
	if k.main == 0 || !k.ready || k.mainUnseen { // another one relays, and is not this process' child
		return
	}
	if s := k.silent.next(); s != 0 {
		k.Log.Error("the program gives no sign of life, and is ended", "pid", k.main, "signal", s.String())
		_ = syscall.Kill(k.main, s)
	}
}
