// Package eventlog writes events to a file or a pipe, one line of JSON each, for those
// who keep them longer than the relay's feed does. A file is rotated by size.
//
// It must not know where events come from. Whoever calls it waits for the disk; a write
// that fails is not repeated, but its events are counted as lost, and a line in their
// place says how many.
package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"srtrelay/api/answer"
)

const (
	// Rotated is how many older files are kept, FILE.1 being the newest.
	Rotated = 4
	// mode lets a group read the file: callers' addresses are not for everybody.
	mode = 0o640
	// lookEvery is how often the log checks that the file is still the one at its
	// path: logrotate, or an operator, may have moved it.
	lookEvery = time.Second
)

// Stdout is the path of standard output.
const Stdout = "-"

// Stats count the events that are not in the log, and the writes that failed.
type Stats struct{ Lost, WriteErrors uint64 }

// Log is an event log. One goroutine writes to it; any may call Stats.
type Log struct {
	path string
	most int64 // bytes of a file
	log  *slog.Logger

	file    *os.File // nil after it could not be opened again
	regular bool     // a file, and no pipe or device
	size    int64
	looked  time.Time
	failing bool
	missing uint64 // events lost since the last that was written
	text    bytes.Buffer
	lines   uint64 // events in text

	lost, failed atomic.Uint64
}

// Open opens the log at path, Stdout being standard output. A file is rotated before it
// gets longer than most bytes. Problems later on are written to log.
func Open(path string, most int64, log *slog.Logger) (*Log, error) {
	l := &Log{path: path, most: most, log: log}
	if path == Stdout {
		l.file = os.Stdout
		return l, nil
	}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("open the event log: %w", err)
	}
	return l, nil
}

// open opens the file at the path. It does not wait for the reader of a pipe.
func (l *Log) open() error {
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, mode)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return err
	}
	l.file, l.regular, l.size = file, info.Mode().IsRegular(), info.Size()
	return nil
}

// Close closes the file.
func (l *Log) Close() error {
	if l.file == nil || l.path == Stdout {
		return nil
	}
	return l.file.Close()
}

// Stats returns the counts so far.
func (l *Log) Stats() Stats { return Stats{l.lost.Load(), l.failed.Load()} }

// Write writes events. lost is how many before them could not be passed on.
func (l *Log) Write(events []answer.Event, lost uint64) {
	l.lose(lost)
	l.look(time.Now())
	for i := range events {
		line, err := events[i].Line()
		if err != nil {
			l.lose(1) // no field holds what JSON cannot
			continue
		}
		if have := l.size + int64(l.text.Len()); l.regular && have > 0 && have+int64(len(line)) > l.most {
			if l.lines > 0 {
				l.flush()
			}
			l.rotate()
		}
		l.text.Write(line)
		l.lines++
	}
	l.flush()
}

func (l *Log) lose(n uint64) {
	l.missing += n
	l.lost.Add(n)
}

// look opens the path again if its file is another one.
func (l *Log) look(now time.Time) {
	if l.path == Stdout || now.Sub(l.looked) < lookEvery {
		return
	}
	l.looked = now
	if l.file != nil {
		at, err := os.Stat(l.path)
		if open, openErr := l.file.Stat(); err == nil && openErr == nil && os.SameFile(at, open) {
			l.size = open.Size() // a process that this one has taken over from may have written too
			return
		}
		_ = l.file.Close()
		l.file = nil
	}
	l.note(l.open())
}

// flush writes the lines that are collected, and in front of them that some are missing.
func (l *Log) flush() {
	if l.text.Len() == 0 && l.missing == 0 || l.file == nil && l.path != Stdout {
		l.lose(l.lines)
		l.text.Reset()
		l.lines = 0
		return
	}
	text := l.text.Bytes()
	if l.missing > 0 {
		gap := answer.Event{Time: time.Now().UTC(), Kind: answer.EventLost, Lost: l.missing}
		if line, err := gap.Line(); err == nil {
			text = append(line, text...)
		}
	}
	n, err := l.file.Write(text)
	if err == nil && n < len(text) {
		err = io.ErrShortWrite
	}
	if err == nil {
		l.size += int64(n)
		l.missing = 0
	} else {
		l.cut(n)
		l.lose(l.lines)
	}
	l.text.Reset()
	l.lines = 0
	l.note(err)
}

// cut removes what a write that failed has written: half a line would spoil the next one.
// It leaves what another process has written meanwhile, from which this one takes over.
func (l *Log) cut(written int) {
	if !l.regular || written <= 0 {
		return
	}
	if now, err := l.file.Stat(); err == nil && now.Size() == l.size+int64(written) {
		_ = l.file.Truncate(l.size)
	}
}

// rotate makes the file FILE.1, FILE.1 FILE.2, and so on, and begins a new one.
func (l *Log) rotate() {
	if l.file == nil {
		return
	}
	name := func(i int) string { return l.path + "." + strconv.Itoa(i) }
	for i := Rotated; i > 1; i-- {
		if err := os.Rename(name(i-1), name(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.refuse(err)
			return
		}
	}
	if err := os.Rename(l.path, name(1)); err != nil {
		l.refuse(err)
		return
	}
	_ = l.file.Close()
	l.file = nil
	l.note(l.open())
}

// refuse stops writing to a file that cannot be rotated: it must not grow without end.
// It is opened, and rotated, again with the next events.
func (l *Log) refuse(err error) {
	_ = l.file.Close()
	l.file = nil
	l.note(err)
}

// note logs when writes begin to fail and when they succeed again.
func (l *Log) note(err error) {
	switch {
	case err != nil:
		l.failed.Add(1)
		if !l.failing {
			l.log.Error("event log cannot be written, its events are lost", "file", l.path, "error", err)
		}
		l.failing = true
	case l.failing && l.missing == 0:
		l.failing = false
		l.log.Info("event log is written again", "file", l.path, "events_lost", l.lost.Load())
	}
}
