package asynclog

import (
	"context"
	"fmt"
	"io"
	"time"
)

// run writes lines until the log is closed and the queue empty, or no more can
// be written.
func (l *Log) run() {
	defer close(l.ended)
	for {
		if chunk := l.next(); chunk != nil {
			if !l.put(chunk) {
				return
			}
			continue
		}
		select {
		case <-l.wake:
		case <-l.closing:
			if !l.last() {
				return
			}
		}
	}
}

// last reports whether the queue holds more, now that nothing is added.
func (l *Log) last() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) > 0 || l.lost > 0
}

// put writes all of chunk, in as many writes as it takes. It is false if the log was
// closed and the writer fails.
func (l *Log) put(chunk []byte) bool {
	l.began(time.Now())
	for wait := minRetry; ; wait = min(2*wait, maxRetry) {
		n, err := l.write(chunk)
		chunk = chunk[n:]
		if len(chunk) == 0 {
			l.wrote()
			return true
		}
		if !l.failed(err) {
			return false
		}
		l.pause(wait)
	}
}

// write calls the writer once. A panic there counts as a failed write, because the log
// must not end the process.
func (l *Log) write(b []byte) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			n, err = 0, fmt.Errorf("panic: %v", v)
		}
	}()
	n, err = l.to.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return min(max(n, 0), len(b)), err
}

// pause waits before the next attempt, or until the log is closed.
func (l *Log) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-l.closing:
	case <-timer.C:
	}
}

func (l *Log) began(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Since = now
}

func (l *Log) wrote() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Since, l.stats.Err = time.Time{}, nil
}

// failed reports whether to try again: not once the log is closed.
func (l *Log) failed(err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.WriteErrors++
	l.stats.Err = err
	l.cut = l.closed
	return !l.closed
}

// WriteWithin writes b to w, for which it waits at most wait. A writer that is stuck keeps
// its goroutine, and gets b when it goes on.
func WriteWithin(w io.Writer, b []byte, wait time.Duration) error {
	done := make(chan error, 1)
	go func() {
		_, err := w.Write(b)
		done <- err
	}()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return context.DeadlineExceeded
	}
}
