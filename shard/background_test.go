package shard

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"srtrelay/internal/supervise"
)

// A panic in the background ends no stream: it is logged and counted, and what
// comes after it runs.
func TestPanicInTheBackground(t *testing.T) {
	var said bytes.Buffer
	supervisor := supervise.New(slog.New(slog.NewTextHandler(&said, nil)))
	g := &Group{backgroundTurn: make(chan struct{}, 1), cfg: Config{Supervisor: supervisor}}
	ran := false
	g.background(func() { panic("boom") })
	g.loops.Wait()
	g.background(func() { ran = true })
	g.loops.Wait()
	if !ran || !strings.Contains(said.String(), "boom") {
		t.Errorf("ran %v, logged %s", ran, said.String())
	}
	if counts := supervisor.Counts(); len(counts) != 1 || counts[0].Panics != 1 {
		t.Errorf("counted %+v", counts)
	}
}
