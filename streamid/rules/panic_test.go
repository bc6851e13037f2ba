package rules

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"srtrelay/internal/supervise"
)

// A file that makes its reader panic leaves the rules in force, and the next
// that is good is read.
func TestPanicOfAReload(t *testing.T) {
	name := filepath.Join(t.TempDir(), "rules.yaml")
	write := func(rule string) {
		if err := os.WriteFile(name, []byte("default: "+rule+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("live/good")
	file, err := Open(name, func(streamID string, _ Dialect) error {
		if streamID == "live/bad" {
			panic("boom")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	before := file.Live().Set()
	s := supervise.New(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	tasks := s.Tasks()
	looks, outcomes := make(chan struct{}), make(chan error)
	tasks.Loop(ctx, "rules", func(ctx context.Context) {
		for {
			select {
			case <-ctx.Done():
				return
			case <-looks:
				file.Poll(func(err error) { outcomes <- err })
			}
		}
	})
	write("live/bad")
	looks <- struct{}{}
	looks <- struct{}{}
	for s.Counts()[0].Panics == 0 {
		time.Sleep(time.Millisecond)
	}
	if file.Live().Set() != before {
		t.Error("the rules in force have changed")
	}
	write("live/better")
	looks <- struct{}{} // taken by the loop that has started again
	looks <- struct{}{}
	if err := errors.Join(<-outcomes); err != nil || file.Live().Set() == before {
		t.Errorf("not read: %v", err)
	}
	cancel()
	tasks.Wait()
}
