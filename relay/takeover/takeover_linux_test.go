package takeover

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/internal/need"
)

// Three processes, one after the other.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	giver := s.start(t, "giver", "", nil)
	giver.await("listening")
	for range 2 {
		taker := s.start(t, "taker", "", nil)
		taker.await("running")
		giver.await("taken over, this process ends")
		taker.await("settled")
		if info, err := os.Lstat(s.socket()); err != nil || info.Mode() != os.ModeSocket|0o600 {
			t.Fatalf("the socket: %v %v", info, err)
		}
		_ = giver.stdin.Close() // ends a taker; a giver has ended
		if code := giver.awaitEnd(); code != 0 {
			t.Fatalf("the giver ended with %d", code)
		}
		giver = taker
	}
	_ = giver.stdin.Close()
	giver.awaitEnd()
	if _, err := os.Lstat(s.socket()); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// Whatever happens to the taker at whatever step, in the end the giver runs, and has
// closed what it opened for it.
func TestTakerFails(t *testing.T) {
	t.Parallel()
	const gone = "it has ended the connection"
	const silent = "no answer in time"
	for fault, want := range map[string]string{
		"hello exit":       "at HELLO: " + gone,
		"hello kill":       "at HELLO: " + gone,
		"hello hang":       "at HELLO: " + silent,
		"hello garbage":    "at HELLO: not a message",
		"files exit":       "at READY: " + gone,
		"files panic":      "at READY: " + gone,
		"files kill":       "at READY: " + gone,
		"files hang":       "at READY: " + silent,
		"files garbage":    "at READY: not a message",
		"files limit":      "at (FILES|READY): it refuses: descriptors were lost",
		"snapshot exit":    "at TAKEN: " + gone,
		"snapshot panic":   "at TAKEN: " + gone,
		"snapshot kill":    "at TAKEN: " + gone,
		"snapshot hang":    "at TAKEN: " + silent,
		"snapshot garbage": "at TAKEN: not a message",
		"snapshot abandon": "at TAKEN: it refuses: the state is bad",
		// COMMITTED may have been sent before.
		"taken exit": "(at COMMITTED|in its probation): " + gone,
		"taken kill": "(at COMMITTED|in its probation): " + gone,
		"taken stop": "in its probation: " + silent,
		"taken hang": "in its probation: " + silent,

		"committed exit":    "in its probation: " + gone,
		"committed panic":   "in its probation: " + gone,
		"committed kill":    "in its probation: " + gone,
		"committed stop":    "in its probation: " + silent,
		"committed hang":    "in its probation: " + silent,
		"probation exit":    "in its probation: " + gone,
		"probation panic":   "in its probation: " + gone,
		"probation kill":    "in its probation: " + gone,
		"probation stop":    "in its probation: " + silent,
		"probation hang":    "in its probation: " + silent,
		"probation dumb":    "in its probation: " + silent,
		"probation abandon": "in its probation: it refuses: a shard panicked",
		"probation garbage": "in its probation: not a message",
		"replaced kill":     "in its probation: " + gone,
		"replaced stop":     "in its probation: " + silent,
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			giver := s.start(t, "giver", "", nil)
			giver.await("listening")
			before := giver.files()
			taker := s.start(t, "taker", fault, nil)
			if reason := giver.await("take-over failed, this process goes on"); !regexp.MustCompile(want).MatchString(reason) {
				t.Errorf("%s, want %s", reason, want)
			}
			if !strings.HasPrefix(fault, "hello") {
				taker.awaitEnd() // by itself, or killed
			}
			awaitFiles(t, giver, before)
			// It can do it again.
			next := s.start(t, "taker", "", nil)
			giver.await("taken over, this process ends")
			next.await("settled")
		})
	}
}

// awaitFiles waits until a giver has closed everything.
func awaitFiles(t *testing.T, giver *child, want int) {
	t.Helper()
	for end := time.Now().Add(readyTimeout + 5*time.Second); giver.files() != want; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the giver has %d descriptors, %d before", giver.files(), want)
		}
	}
}

// A taker that was stopped for longer than the giver waits must not run when it goes on.
func TestStoppedTakerGivesUp(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	giver := s.start(t, "giver", "", nil)
	giver.await("listening")
	taker := s.start(t, "taker", "snapshot stop", nil)
	giver.await("resumed: ")
	taker.awaitStopped()
	_ = taker.cmd.Process.Signal(unix.SIGCONT)
	if reason := taker.await("error: "); !strings.Contains(reason, "it refuses: no answer in time") {
		t.Error(reason)
	}
	if code := taker.awaitEnd(); code != 1 {
		t.Errorf("the taker ended with %d", code)
	}
}

// A giver that was stopped in the probation finds the proofs that have come meanwhile, and
// does not kill the taker.
func TestStoppedGiver(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	giver := s.start(t, "giver", "", nil)
	giver.await("listening")
	taker := s.start(t, "taker", "", nil)
	taker.await("running")
	_ = giver.cmd.Process.Signal(unix.SIGSTOP)
	taker.await("settled")
	_ = giver.cmd.Process.Signal(unix.SIGCONT)
	giver.await("taken over, this process ends")
	if code := giver.awaitEnd(); code != 0 {
		t.Errorf("the giver ended with %d", code)
	}
}

// Before the commit a taker whose giver fails does not run, after it, it goes on.
func TestGiverFails(t *testing.T) {
	t.Parallel()
	for fault, want := range map[string]string{
		"give-files kill":  "at FILES: it has ended the connection",
		"give-files panic": "at FILES: it refuses: ",
		"give-files error": "at FILES: it refuses: as the test wants it",
		"freeze kill":      "at SNAPSHOT: it has ended the connection",
		"freeze panic":     "at SNAPSHOT: it refuses: ",
		"freeze error":     "at SNAPSHOT: it refuses: as the test wants it",
		"park kill":        "at COMMITTED: it has ended the connection",
		"park panic":       "at COMMITTED: it refuses: ",
		"leave kill":       "",
		"probation kill":   "",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			giver := s.start(t, "giver", fault, nil)
			giver.await("listening")
			taker := s.start(t, "taker", "", nil)
			if want != "" {
				if reason := taker.await("error: "); !strings.Contains(reason, want) {
					t.Errorf("%s, want %s", reason, want)
				}
				if strings.HasPrefix(fault, "freeze") && !strings.HasSuffix(fault, "kill") {
					giver.await("resumed: ")
				}
				return
			}
			taker.await("running")
			if fault == "probation kill" {
				_ = giver.cmd.Process.Kill()
				if alone := taker.await("alone: "); !strings.Contains(alone, "has gone before this process had settled") {
					t.Error(alone)
				}
			}
			taker.await("settled")
		})
	}
}

// Whoever is stopped in the probation leaves what it has to the other.
func TestStopInProbation(t *testing.T) {
	t.Parallel()
	t.Run("taker", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		giver := s.start(t, "giver", "", nil)
		giver.await("listening")
		s.start(t, "taker", "probation end", nil).await("ended: <nil>")
		giver.await("taken over, this process ends")
	})
	t.Run("giver", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		giver := s.start(t, "giver", "", nil)
		giver.await("listening")
		taker := s.start(t, "taker", "", nil)
		taker.await("running")
		_ = giver.stdin.Close()
		giver.await("this process was stopped, the new one goes on")
		taker.await("settled")
	})
}

func TestSecondTakeOverIsRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	giver := s.start(t, "giver", "", nil)
	giver.await("listening")
	first := s.start(t, "taker", "hello hang", nil)
	first.await("at hello")
	second := s.start(t, "taker", "", nil)
	if reason := second.await("error: "); !strings.Contains(reason, "it refuses: another take-over is under way") {
		t.Error(reason)
	}
}

// Neither process sees the other's PID, nor can it signal it.
func TestOtherPIDNamespace(t *testing.T) {
	need.Root(t, "PID namespaces")
	t.Parallel()
	s := newScene(t)
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	giver := s.start(t, "giver", "", attr)
	giver.await("listening")
	taker := s.start(t, "taker", "probation hang", attr)
	if reason := giver.await("resumed: "); !strings.Contains(reason, "(in another PID namespace) in its probation: no answer in time") {
		t.Error(reason)
	}
	taker.awaitEnd()
	next := s.start(t, "taker", "", attr)
	next.await("settled")
	giver.await("taken over, this process ends")
}

// The end of a giver that is PID 1 would end a taker in its namespace too.
func TestPID1RefusesItsOwn(t *testing.T) {
	need.Root(t, "PID namespaces")
	t.Parallel()
	giver := newScene(t).start(t, "giver", "spawn", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID})
	if reason := giver.await("error: "); !strings.Contains(reason, "it refuses: this process is PID 1 of its container") {
		t.Error(reason)
	}
}
