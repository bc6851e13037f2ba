package relay

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/api"
	"srtrelay/internal/clocale"
)

// The process that takes over may have read its files before the last reload of the one before.
func TestReloadDuringTheStartOfTheNextProcess(t *testing.T) {
	for name, c := range map[string]struct {
		asked time.Time
		again bool
	}{"never": {}, "long ago": {processBegan.Add(-time.Second), false}, "since": {processBegan.Add(time.Second), true}} {
		old, next := parts(t), parts(t)
		old.reloads.asked, next.reloads.hup = c.asked, make(chan os.Signal, 1)
		text, err := old.appendSnapshot(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := next.restore(text); err != nil {
			t.Fatal(err)
		}
		if got := len(next.reloads.hup) == 1; got != c.again {
			t.Errorf("%s: it reloads again: %v", name, got)
		}
	}
}

// A reload that is asked of a frozen process waits until it is known which one goes on.
func TestReloadDuringTheFreeze(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*reloads)
		want error
	}{
		"failed":                   {func(l *reloads) { l.takeBack(); l.relay.gate.open(false) }, nil},
		"taken over":               {func(l *reloads) { l.handOver(0); l.relay.gate.open(true) }, errTakenOver},
		"nobody knows for a while": {func(*reloads) {}, api.ErrReloading},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := &reloads{relay: &relay{process: process{log: slog.New(slog.DiscardHandler)}}}
			ctx, end := context.WithTimeout(t.Context(), time.Minute)
			defer end()
			l.relay.gate.hold()
			done := make(chan error)
			go func() { done <- l.admit(ctx) }()
			synctest.Wait()
			select {
			case err := <-done:
				t.Fatalf("%s: %v during the freeze", name, err)
			default:
			}
			go c.end(l)
			if err := <-done; !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// A reload that comes when the other process is dead already, but not yet taken back from, is done
// here.
func TestReloadOfADeadSuccessor(t *testing.T) {
	l := &reloads{relay: &relay{process: process{log: slog.New(slog.DiscardHandler)}}, hup: make(chan os.Signal, 1)}
	cmd := clocale.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.handOver(cmd.Process.Pid)
	l.relay.gate.open(true)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := l.admit(t.Context()); !errors.Is(err, errTakenOver) {
		t.Errorf("%v", err)
	}
	if l.takeBack(); len(l.hup) != 1 {
		t.Error("it is lost")
	}
}
