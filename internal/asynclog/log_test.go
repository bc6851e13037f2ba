package asynclog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds waits for what must happen.
const patience = 20 * time.Second

// text formats lines without their time.
func text(w io.Writer) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
}

// reader is a log's reader that takes a write only when it is let.
type reader struct {
	let     chan error // one result per write; closed: all succeed
	begun   chan int   // the length of each write that was begun, if not nil
	partial int        // bytes taken by a write that fails

	mu  sync.Mutex
	got bytes.Buffer
}

// Write implements io.Writer.
func (r *reader) Write(b []byte) (int, error) {
	if r.begun != nil {
		r.begun <- len(b)
	}
	err := <-r.let
	if err != nil {
		b = b[:min(r.partial, len(b))]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got.Write(b)
	return len(b), err
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got.String()
}

func closeAll(t *testing.T, l *Log) {
	t.Helper()
	if !l.Close(patience) {
		t.Fatal("not all lines were written")
	}
	<-l.ended // and no goroutine is left
}

func TestLinesAreWrittenInOrder(t *testing.T) {
	var out bytes.Buffer
	l := Open(&out, text)
	log := slog.New(l.Handler())
	log.Info("one", "n", 1)
	log.With("shard", 3).WithGroup("g").Warn("two", "x", "y z")
	log.Debug("three")
	closeAll(t, l)
	const want = "level=INFO msg=one n=1\nlevel=WARN msg=two shard=3 g.x=\"y z\"\nlevel=DEBUG msg=three\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
	if s := l.Stats(); s != (Stats{}) {
		t.Errorf("%+v", s)
	}
	log.Info("late")
	if s := l.Stats(); s.Lost != 1 || out.String() != want {
		t.Errorf("a line after the end: %+v\n%s", s, &out)
	}
}

// A reader that stands still holds nobody up, and is told what it missed, and
// where.
func TestStalledReaderLosesLines(t *testing.T) {
	r := &reader{let: make(chan error), begun: make(chan int, 100)}
	l := open(r, text, bounds{lines: 8, bytes: 1 << 20})
	log := slog.New(l.Handler())
	log.Info("first")
	<-r.begun // the writer is stuck with it
	for i := range 20 {
		log.Info("queued", "n", i)
	}
	if s := l.Stats(); s.Lost != 12 || s.LastLost.IsZero() || s.Since.IsZero() {
		t.Errorf("stalled: %+v, want 12 lost", s)
	}
	close(r.let)
	closeAll(t, l)
	var want strings.Builder
	want.WriteString("level=INFO msg=first\n")
	for i := range 8 {
		fmt.Fprintf(&want, "level=INFO msg=queued n=%d\n", i)
	}
	want.WriteString("level=WARN msg=\"log lines lost\" count=12 reason=\"they came faster than their reader took them\"\n")
	if r.String() != want.String() {
		t.Errorf("got\n%swant\n%s", r, &want)
	}
	if s := l.Stats(); s.Lost != 12 || !s.Since.IsZero() {
		t.Errorf("at the end: %+v", s)
	}
}

// The line about lost ones stands where they are missing.
func TestLossIsToldInItsPlace(t *testing.T) {
	r := &reader{let: make(chan error), begun: make(chan int, 100)}
	l := open(r, text, bounds{lines: 4, bytes: 1 << 20})
	log := slog.New(l.Handler())
	log.Info("first")
	<-r.begun
	for i := range 6 {
		log.Info("queued", "n", i)
	}
	r.let <- nil // the first; then all four that were queued are one write
	<-r.begun
	log.Info("after")
	close(r.let)
	closeAll(t, l)
	at := func(line string) int { return strings.Index(r.String(), line) }
	if lost := at("count=2"); lost < at("n=3") || lost > at("msg=after") || at("n=4") >= 0 {
		t.Errorf("got\n%s", r)
	}
}

func TestBytesAreBounded(t *testing.T) {
	const most = 10_000
	r := &reader{let: make(chan error), begun: make(chan int, 100)}
	l := open(r, text, bounds{lines: 1000, bytes: most})
	log := slog.New(l.Handler())
	log.Info("first")
	<-r.begun
	log.Info(strings.Repeat("x", most)) // never fits, and must not stop the others
	for range 200 {
		log.Info("queued", "x", strings.Repeat("x", 100))
	}
	l.mu.Lock()
	if l.bytes > most || l.bytes < most/2 {
		t.Errorf("%d bytes wait, at most %d may", l.bytes, most)
	}
	held := len(l.queue)
	l.mu.Unlock()
	if s := l.Stats(); s.Lost != uint64(201-held) {
		t.Errorf("%d lost of 201, %d wait", s.Lost, held)
	}
	close(r.let)
	closeAll(t, l)
	if n := strings.Count(r.String(), "msg=queued"); n != held {
		t.Errorf("%d lines written, want %d", n, held)
	}
	for len(r.begun) > 0 {
		if n := <-r.begun; n > maxChunk {
			t.Errorf("a write of %d bytes", n)
		}
	}
}

// A disk that is full for a while, or a pipe without a reader, costs no line.
func TestFailedWritesAreTriedAgain(t *testing.T) {
	for _, failure := range []error{syscall.EPIPE, syscall.ENOSPC, syscall.EIO} {
		r := &reader{let: make(chan error, 3), partial: 5}
		l := Open(r, text)
		r.let <- failure
		r.let <- failure
		slog.New(l.Handler()).Info("one")
		for deadline := time.Now().Add(patience); l.Stats().WriteErrors < 2; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%+v", l.Stats())
			}
		}
		if s := l.Stats(); !errors.Is(s.Err, failure) || s.Since.IsZero() || s.Lost != 0 {
			t.Errorf("%v: %+v", failure, s)
		}
		close(r.let)
		closeAll(t, l)
		if r.String() != "level=INFO msg=one\n" {
			t.Errorf("%v: got %q", failure, r)
		}
		if s := l.Stats(); s.Err != nil || !s.Since.IsZero() {
			t.Errorf("%v: %+v", failure, s)
		}
	}
}

type panics struct{}

func (panics) Write([]byte) (int, error) { panic("boom") }

func TestEndDoesNotWaitForever(t *testing.T) {
	stuck := &reader{let: make(chan error), begun: make(chan int, 1)}
	t.Cleanup(func() { close(stuck.let) })
	failing := &reader{let: make(chan error, 100)}
	for range 100 {
		failing.let <- syscall.EPIPE
	}
	for name, c := range map[string]struct {
		to   io.Writer
		wait time.Duration
	}{
		"stuck": {stuck, 50 * time.Millisecond}, "failing": {failing, patience}, "panicking": {panics{}, patience},
	} {
		l := Open(c.to, text)
		slog.New(l.Handler()).Info("one")
		if c.to == stuck {
			<-stuck.begun
		}
		began := time.Now()
		for range 2 { // closing again waits, and says the same
			if l.Close(c.wait) {
				t.Errorf("%s: all was written", name)
			}
		}
		if took := time.Since(began); took >= patience {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

func TestWriteWithin(t *testing.T) {
	var out bytes.Buffer
	if err := WriteWithin(&out, []byte("x"), patience); err != nil || out.String() != "x" {
		t.Errorf("%q, %v", &out, err)
	}
	stuck := &reader{let: make(chan error)}
	defer close(stuck.let)
	if WriteWithin(stuck, []byte("x"), time.Millisecond) == nil {
		t.Error("a stuck writer was waited for")
	}
}

// Many log at once while the reader is slow: every line is written whole, or is
// counted.
func TestManyLogAtOnce(t *testing.T) {
	const writers, each = 8, 500
	r := &reader{let: make(chan error)}
	l := open(r, text, bounds{lines: 64, bytes: 8 << 10})
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			log := slog.New(l.Handler()).With("writer", w)
			for i := range each {
				log.Info("line", "n", i)
			}
		})
	}
	go func() {
		for range 50 {
			r.let <- nil
		}
		close(r.let)
	}()
	all.Wait()
	closeAll(t, l)
	written, last := 0, map[int]int{}
	for line := range strings.Lines(r.String()) {
		if strings.Contains(line, "log lines lost") {
			continue
		}
		var w, n int
		if _, err := fmt.Sscanf(line, "level=INFO msg=line writer=%d n=%d\n", &w, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if before, seen := last[w]; seen && n <= before {
			t.Fatalf("writer %d: %d after %d", w, n, before)
		}
		last[w] = n
		written++
	}
	if lost := l.Stats().Lost; written+int(lost) != writers*each {
		t.Errorf("%d written, %d lost, of %d", written, lost, writers*each)
	}
}
