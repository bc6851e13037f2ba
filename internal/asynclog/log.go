// Package asynclog decouples the goroutines that log from the reader of the log: lines
// wait in a bounded queue for one goroutine that writes them. Lines that do not fit are
// lost and counted, and a line in their place says how many.
//
// If the output stalls (a terminal with Ctrl-S, a container runtime in blocking
// mode) or fails (a closed pipe, a full disk), the goroutine waits or tries again;
// only the log stops. slog's own handlers format the lines. The package must not
// know what is logged.
package asynclog

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// maxLines and maxBytes bound what waits to be written: some seconds of the
	// busiest log, or a second's worth of stacks.
	maxLines = 8192
	maxBytes = 4 << 20
	// maxChunk is PIPE_BUF: a write of at most that many bytes to a pipe is
	// atomic, so that lines of other processes on the same pipe do not split
	// ours.
	maxChunk = 4096
	// minRetry is how soon a failed write is tried again. The time doubles up to
	// maxRetry.
	minRetry = 50 * time.Millisecond
	maxRetry = 2 * time.Second
)

// Format makes a handler that writes each record to w with one call of Write,
// as slog's do.
type Format func(w io.Writer) slog.Handler

// Log is a queue of lines and the goroutine that writes them. Any goroutine may
// call it.
type Log struct {
	to      io.Writer
	handler slog.Handler
	notice  slog.Handler // writes to scratch, for the writer's goroutine alone
	scratch bytes.Buffer
	most    bounds
	wake    chan struct{} // the queue is not empty, or the log is closed
	closing chan struct{}
	ended   chan struct{}

	mu     sync.Mutex
	queue  []line
	bytes  int
	full   bool   // nothing is taken until half of it is written
	lost   uint64 // lines since the last one that was taken
	closed bool
	cut    bool // the writer gave up
	stats  Stats
}

type bounds struct{ lines, bytes int }

// line is one line with its line break.
type line struct {
	text   []byte
	missed uint64 // lines that were lost before it
}

// Stats counts the lines that were lost, and the writes that failed.
type Stats struct {
	Lost, WriteErrors uint64
	// LastLost is when the last line was lost, zero for never.
	LastLost time.Time
	// Since is when the write under way, or the first of those that fail one
	// after the other, began; zero while none is under way.
	Since time.Time
	// Err is why the last write failed, nil after one that did not.
	Err error
}

// Open starts a Log that writes to w. Close it.
func Open(w io.Writer, format Format) *Log {
	return open(w, format, bounds{maxLines, maxBytes})
}

func open(w io.Writer, format Format, most bounds) *Log {
	l := &Log{
		to: w, most: most,
		wake: make(chan struct{}, 1), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	l.handler, l.notice = format(queue{l}), format(&l.scratch)
	go l.run()
	return l
}

// Handler returns the handler that puts lines into the queue. It never waits
// for the writer.
func (l *Log) Handler() slog.Handler { return l.handler }

// Stats returns the present counts.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Close refuses further lines and waits until those in the queue are written, for at most
// wait. It reports whether they are written. A writer that is stuck keeps its goroutine.
func (l *Log) Close(wait time.Duration) bool {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.closing)
	}
	l.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-l.ended:
	case <-timer.C:
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.cut
}

// queue is where the handler writes to.
type queue struct{ *Log }

// Write puts a line into the queue, or counts it as lost. It never fails.
func (q queue) Write(text []byte) (int, error) {
	l := q.Log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full || l.closed || len(l.queue) >= l.most.lines || l.bytes+len(text) > l.most.bytes {
		// A single line that is too long says nothing of the queue.
		l.full = l.full || len(text) <= l.most.bytes/2
		l.lost++
		l.stats.Lost++
		l.stats.LastLost = time.Now()
		l.awake()
		return len(text), nil
	}
	l.queue = append(l.queue, line{slices.Clone(text), l.lost})
	l.bytes += len(text)
	l.lost = 0
	l.awake()
	return len(text), nil
}

func (l *Log) awake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// next returns lines for one write, up to maxChunk bytes unless the first one
// is longer, and nil if there is none.
func (l *Log) next() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var chunk []byte
	n := 0
	for ; n < len(l.queue); n++ {
		at := l.queue[n]
		if len(chunk) > 0 && (at.missed > 0 || len(chunk)+len(at.text) > maxChunk) {
			break
		}
		if at.missed > 0 {
			chunk = append(chunk, l.noticeOf(at.missed)...)
		}
		chunk = append(chunk, at.text...)
		l.bytes -= len(at.text)
	}
	l.queue = slices.Delete(l.queue, 0, n)
	if len(l.queue) <= l.most.lines/2 && l.bytes <= l.most.bytes/2 {
		l.full = false
	}
	if n == 0 && l.lost > 0 {
		chunk = l.noticeOf(l.lost)
		l.lost = 0
	}
	return chunk
}

// noticeOf returns the line in place of missing ones. It is valid until the next call.
func (l *Log) noticeOf(missing uint64) []byte {
	l.scratch.Reset()
	r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines lost", 0)
	r.Add("count", missing, "reason", "they came faster than their reader took them")
	_ = l.notice.Handle(context.Background(), r) // into memory
	return l.scratch.Bytes()
}
