//go:build linux

package rig

import (
	"bytes"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// logKept is how much of the end of a log is kept.
	logKept = 64 << 10
	// smallPipe is the smallest pipe that the kernel makes: a few dozen lines fill it.
	smallPipe = 4 << 10
)

// LogReader reads a process's log from a pipe. It can stall or die, as a terminal or a log
// collector does.
type LogReader struct {
	w, r *os.File
	gone chan struct{}

	mu      sync.Mutex
	wake    *sync.Cond
	stalled bool
	closed  bool
	text    []byte
	lines   int
	bad     string // the first line that no relay may write
}

// NewLogReader makes the pipe and begins to read.
func NewLogReader() (*LogReader, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make log pipe: %w", err)
	}
	// A full-sized pipe works as well, only later.
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, smallPipe)
	l := &LogReader{w: w, r: r, gone: make(chan struct{})}
	l.wake = sync.NewCond(&l.mu)
	go l.read()
	return l, nil
}

func (l *LogReader) read() {
	defer close(l.gone)
	piece := make([]byte, smallPipe)
	for {
		l.mu.Lock()
		for l.stalled && !l.closed {
			l.wake.Wait()
		}
		l.mu.Unlock()
		n, err := l.r.Read(piece)
		if err != nil {
			return
		}
		l.keep(piece[:n])
	}
}

func (l *LogReader) keep(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	l.lines += bytes.Count(b, []byte("\n"))
	for _, word := range []string{"panic", "fatal error:", "DATA RACE"} {
		if i := bytes.Index(l.text[max(0, len(l.text)-len(b)-len(word)):], []byte(word)); i >= 0 && l.bad == "" {
			l.bad = word
		}
	}
	if over := len(l.text) - logKept; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
}

// Stall stops reading, or goes on.
func (l *LogReader) Stall(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stalled = on
	l.wake.Broadcast()
}

// Die closes the reading end: from now on the writer gets EPIPE.
func (l *LogReader) Die() {
	l.mu.Lock()
	l.closed, l.stalled = true, false
	l.wake.Broadcast()
	l.mu.Unlock()
	_ = l.r.Close()
	<-l.gone
}

// Lines is how many lines were read.
func (l *LogReader) Lines() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines
}

// Bad returns a word in the log that must not be there, or "".
func (l *LogReader) Bad() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bad
}

// Tail is the end of the log.
func (l *LogReader) Tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text[max(0, len(l.text)-4000):])
}
