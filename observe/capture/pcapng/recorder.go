package pcapng

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"srtrelay/observe/capture"
)

const (
	// MaxRecordings bounds the captures that run at once, because each has rings of
	// its own.
	MaxRecordings = 4
	// batching is the least time between two reads of the rings, which hold far more
	// than arrives meanwhile. In between the shards do not wake the reader.
	batching = 20 * time.Millisecond
	// drainAtOnce is how many records are written before the limits are checked again:
	// the rings may fill as fast as they are read.
	drainAtOnce = 4096
)

// ErrFull says that MaxRecordings captures are running.
var ErrFull = errors.New("as many captures are running as may")

// ErrSuspended says that no capture may run at present.
var ErrSuspended = errors.New("no captures, the relay is overloaded")

// Shards start captures; see shard.Group.
type Shards interface {
	Capture(context.Context, capture.Filter, capture.Keep) (c *capture.Capture, stop func(), err error)
}

// Job is what to record.
type Job struct {
	Filter capture.Filter
	Keep   capture.Keep
	// Time and Bytes end the recording.
	Time  time.Duration
	Bytes int64
	// Title names the streams and sessions in the file.
	Title string
}

// Why a recording ended.
const (
	EndedTime     = "time is over"
	EndedBytes    = "file is full"
	EndedSessions = "sessions have ended"
	EndedRelay    = "relay has stopped"
	EndedStopped  = "stopped"
	EndedOverload = "relay is overloaded"
)

// Summary is the result of a recording.
type Summary struct {
	Ended string
	// Packets are in the file, two for each forwarded datagram. Dropped were left out
	// because the reader was too slow, or because of the rate limit.
	Packets, Dropped uint64
	Bytes            int64
}

// Recorder makes recordings, at most MaxRecordings at a time.
type Recorder struct {
	shards  Shards
	program string
	running chan struct{}

	mu        sync.Mutex
	suspended bool
	writing   map[*Recording]context.CancelFunc // ends the waiting of each
}

// NewRecorder returns a recorder. program is the application's name in the files.
func NewRecorder(shards Shards, program string) *Recorder {
	return &Recorder{
		shards: shards, program: program, running: make(chan struct{}, MaxRecordings),
		writing: make(map[*Recording]context.CancelFunc, MaxRecordings),
	}
}

// Suspend ends the recordings that run, and refuses new ones, until it is called with
// false.
func (r *Recorder) Suspend(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.suspended = yes
	if yes {
		for recording, cancel := range r.writing {
			recording.suspended.Store(true)
			cancel()
		}
	}
}

// isSuspended reports whether no capture may run.
func (r *Recorder) isSuspended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.suspended
}

// begins notes that a recording writes, and how its waiting is ended.
func (r *Recorder) begins(one *Recording, cancel context.CancelFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writing[one] = cancel
	one.suspended.Store(r.suspended)
}

// ends notes that a recording does not write any more.
func (r *Recorder) ends(one *Recording) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.writing, one)
}

// Recording is a running capture. The caller of Begin must close it.
type Recording struct {
	capture *capture.Capture
	job     Job
	program string
	began   time.Time
	// suspended says that captures have been since it began.
	suspended atomic.Bool
	recorder  *Recorder
	stop      func()
	release   func()
}

// Begin starts a capture. When it returns, the shards copy datagrams.
func (r *Recorder) Begin(ctx context.Context, job Job) (*Recording, error) {
	if r.isSuspended() {
		return nil, ErrSuspended
	}
	select {
	case r.running <- struct{}{}:
	default:
		return nil, ErrFull
	}
	c, stop, err := r.shards.Capture(ctx, job.Filter, job.Keep)
	if err != nil {
		<-r.running
		return nil, fmt.Errorf("begin capture: %w", err)
	}
	return &Recording{
		capture: c, job: job, program: r.program, began: time.Now(), recorder: r,
		stop: stop, release: func() { <-r.running },
	}, nil
}

// Close stops the capture and makes room for another recording.
func (r *Recording) Close() {
	r.stop()
	r.release()
}

// Write writes the file until a limit of the job is reached, the sessions have ended, or ctx
// ends. It calls flush when it has written everything there is. An error means that the
// reader of the file has gone or stalled.
func (r *Recording) Write(ctx context.Context, to io.Writer, flush func() error) (Summary, error) {
	w, err := newWriter(to, r.capture.Origin, r.job.Bytes, r.program, r.comment())
	if err != nil {
		return Summary{}, err
	}
	timed, cancel := context.WithTimeout(ctx, r.job.Time)
	defer cancel()
	r.recorder.begins(r, cancel)
	defer r.recorder.ends(r)
	ended := ""
	for ended == "" {
		ended, err = r.step(ctx, timed, w, flush)
		if err != nil {
			return r.summary(w, EndedStopped), err
		}
	}
	r.stop()
	for more := ended != EndedBytes; more; {
		if _, more, err = r.drain(w); err != nil {
			return r.summary(w, ended), err
		}
	}
	if err := w.Close(r.began, time.Now(), r.left()); err != nil {
		return r.summary(w, ended), err
	}
	return r.summary(w, ended), flush()
}

// step writes the records in the rings and waits for more. It returns why the recording has
// ended, "" if it has not.
func (r *Recording) step(ctx, timed context.Context, w *writer, flush func() error) (ended string, err error) {
	last := r.capture.Ended() // checked first: then all records are in the rings
	full, more, err := r.drain(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = flush()
	}
	switch {
	case err != nil || full:
		return EndedBytes, err
	case last && !more && len(r.job.Filter.Streams) > 0:
		return EndedRelay, nil
	case last && !more:
		return EndedSessions, nil
	case ctx.Err() != nil:
		return EndedStopped, nil
	case r.suspended.Load():
		return EndedOverload, nil
	case timed.Err() != nil:
		return EndedTime, nil
	case more:
		return "", nil
	}
	pause(timed, batching)
	r.capture.Wait(timed)
	return "", nil
}

// pause waits for d or ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// drain writes the records in the rings, until the file is full or there may be more.
func (r *Recording) drain(w *writer) (full, more bool, err error) {
	var rec capture.Record
	for range drainAtOnce {
		if !r.capture.Next(&rec) {
			return false, false, nil
		}
		if fits, err := w.Write(&rec); err != nil || !fits {
			return !fits, false, err
		}
	}
	return false, true, nil
}

func (r *Recording) left() (left [len(legs)]uint64) {
	for l := range left {
		full, limited := r.capture.Dropped(capture.Leg(l))
		left[l] = full + limited
	}
	return left
}

func (r *Recording) summary(w *writer, ended string) Summary {
	s := Summary{Ended: ended, Bytes: w.Size()}
	for l, left := range r.left() {
		s.Packets += w.Written(capture.Leg(l))
		s.Dropped += left
	}
	return s
}

// comment describes the content of the file.
func (r *Recording) comment() string {
	var b strings.Builder
	kept := "SRT headers and whole control packets"
	if r.job.Keep.Payload {
		kept = "whole datagrams"
	}
	fmt.Fprintf(&b, "%s; %s; at most %v, %d bytes", r.job.Title, kept, r.job.Time, r.job.Bytes)
	if r.job.Keep.Rate > 0 {
		fmt.Fprintf(&b, ", %d datagrams/s", r.job.Keep.Rate)
	}
	return b.String()
}
