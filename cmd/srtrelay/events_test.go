package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"srtrelay/handshake"
	"srtrelay/shard"
)

// Whoever provokes rejections must not fill the disk.
func TestRejectionsInTheLogAreBounded(t *testing.T) {
	var out bytes.Buffer
	log := newEventLog(slog.New(slog.NewTextHandler(&out, nil)))
	events := make(chan shard.Event, 1000)
	for range 900 {
		events <- shard.Event{Kind: shard.CallerRejected, Code: handshake.Down}
	}
	events <- shard.Event{Kind: shard.SessionEnded, Cause: shard.Idle}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	log.run(ctx, events)
	text := out.String()
	if n := strings.Count(text, "caller rejected"); n != rejectionsPerSecond {
		t.Errorf("%d rejections written, want %d", n, rejectionsPerSecond)
	}
	if !strings.Contains(text, "count=850") {
		t.Errorf("the rest is not counted:\n%s", text[max(0, len(text)-300):])
	}
	if !strings.Contains(text, "cause=idle") {
		t.Error("an ended session was suppressed too")
	}
}
