package pcapng

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"srtrelay/observe/capture"
)

// patience bounds every wait for an event; it measures nothing.
const patience = 20 * time.Second

// fakeShards is one shard whose turns the test makes.
type fakeShards struct {
	err     error
	capture *capture.Capture
	stopped int
}

func (s *fakeShards) Capture(_ context.Context, f capture.Filter, k capture.Keep) (*capture.Capture, func(), error) {
	if s.err != nil {
		return nil, nil, s.err
	}
	s.capture = capture.New(f, k, 1)
	s.capture.Origin = origin
	return s.capture, func() { s.stopped++ }, nil
}

// turn has the shard forward so many datagrams.
func (s *fakeShards) turn(n int) {
	datagram := srt(1, 1332)
	for range n {
		s.capture.Tap(0).Copy(time.Second, capture.ToBackend|capture.Forwarded, &ends4, datagram)
	}
	s.capture.Tap(0).Commit()
}

func job() Job {
	return Job{
		Filter: capture.Filter{Sessions: []capture.Session{{Shard: 0, Index: 1, Gen: 2}}},
		Time:   time.Hour, Bytes: 1 << 30, Title: "session 0-1-2",
	}
}

// reader is what the recording goes to.
type reader struct {
	mu      sync.Mutex
	b       bytes.Buffer
	flushed chan struct{} // rung at every flush
	stall   chan struct{} // while open, no write returns
}

func newReader() *reader { return &reader{flushed: make(chan struct{}, 1)} }

func (r *reader) Write(b []byte) (int, error) {
	if r.stall != nil {
		<-r.stall
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(b)
}

func (r *reader) flush() error {
	select {
	case r.flushed <- struct{}{}:
	default:
	}
	return nil
}

// await waits until the reader has n bytes.
func (r *reader) await(t *testing.T, n int) {
	t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		have := r.b.Len()
		r.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-r.flushed:
		case <-deadline:
			t.Fatalf("%d bytes, want %d", have, n)
		}
	}
}

type outcome struct {
	sum Summary
	err error
}

// start begins a recording and writes it; the returned channel yields how it
// went.
func start(t *testing.T, ctx context.Context, shards *fakeShards, j Job, to *reader) <-chan outcome {
	t.Helper()
	r, err := NewRecorder(shards, "srtrelay test").Begin(ctx, j)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan outcome, 1)
	go func() {
		sum, err := r.Write(ctx, to, to.flush)
		r.Close()
		done <- outcome{sum, err}
	}()
	return done
}

func finish(t *testing.T, done <-chan outcome) Summary {
	t.Helper()
	select {
	case o := <-done:
		if o.err != nil {
			t.Fatal(o.err)
		}
		return o.sum
	case <-time.After(patience):
		t.Fatal("the recording does not end")
	}
	return Summary{}
}

// What is copied while the recording goes on, and just before the last session
// ended, is in the file.
func TestRecordingEndsWithItsSessions(t *testing.T) {
	shards, to := new(fakeShards), newReader()
	done := start(t, t.Context(), shards, job(), to)
	to.await(t, 100) // the header is there before the first datagram
	shards.turn(10)
	to.await(t, 10*2*60)
	shards.turn(5)
	shards.capture.Tap(0).End()
	sum := finish(t, done)
	if sum.Ended != EndedSessions || sum.Packets != 30 || sum.Dropped != 0 || sum.Bytes != int64(to.b.Len()) || shards.stopped == 0 {
		t.Errorf("%+v of %d bytes, stopped %d times", sum, to.b.Len(), shards.stopped)
	}
	f := read(t, to.b.Bytes())
	if len(f.packets) != 30 {
		t.Errorf("%d packets in the file", len(f.packets))
	}
	for _, words := range []string{"session 0-1-2", "headers", "1h0m0s", "1073741824 bytes"} {
		if !strings.Contains(f.section.Comment, words) {
			t.Errorf("comment %q does not say %q", f.section.Comment, words)
		}
	}
}

func TestStreamsOutliveTheirSessions(t *testing.T) {
	shards, to := new(fakeShards), newReader()
	j := job()
	j.Filter = capture.Filter{Streams: []string{"live/x"}}
	done := start(t, t.Context(), shards, j, to)
	shards.capture.Tap(0).End() // only with its shard
	if sum := finish(t, done); sum.Ended != EndedRelay {
		t.Errorf("%+v", sum)
	}
}

func TestTimeEnds(t *testing.T) {
	shards, to := new(fakeShards), newReader()
	j := job()
	j.Time = time.Millisecond
	if sum := finish(t, start(t, t.Context(), shards, j, to)); sum.Ended != EndedTime {
		t.Errorf("%+v", sum)
	}
	read(t, to.b.Bytes())
}

// Rings that fill as fast as they are emptied must not hide the end.
func TestTimeEndsUnderLoad(t *testing.T) {
	shards, to := new(fakeShards), newReader()
	j := job()
	j.Time = time.Millisecond
	r, err := NewRecorder(shards, "").Begin(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	refill := &refiller{reader: to, shards: shards, left: 500_000}
	shards.turn(2000)
	sum, err := r.Write(t.Context(), refill, func() error { shards.turn(drainAtOnce + 1); return nil })
	if err != nil || sum.Ended != EndedTime {
		t.Errorf("%+v, %v", sum, err)
	}
	if refill.left <= 0 {
		t.Error("it went on for as long as there was something to write")
	}
}

// refiller puts into the ring more than its reader takes out, for a while.
type refiller struct {
	*reader
	shards *fakeShards
	left   int
}

func (r *refiller) Write(b []byte) (int, error) {
	if n := len(b) / 100; r.shards.stopped == 0 && r.left > 0 {
		r.left -= n
		r.shards.turn(n)
	}
	return len(b), nil
}

func TestBytesEnd(t *testing.T) {
	shards, to := new(fakeShards), newReader()
	j := job()
	j.Bytes = 10_000
	done := start(t, t.Context(), shards, j, to)
	shards.turn(1000)
	sum := finish(t, done)
	if sum.Ended != EndedBytes || to.b.Len() > 10_000 || to.b.Len() < 9_000 {
		t.Errorf("%+v, file of %d bytes", sum, to.b.Len())
	}
	read(t, to.b.Bytes())
}

// Who ends the capture gets a whole file, statistics and all.
func TestContextEnds(t *testing.T) {
	shards, to := new(fakeShards), newReader()
	ctx, end := context.WithCancel(t.Context())
	done := start(t, ctx, shards, job(), to)
	to.await(t, 100)
	shards.turn(3)
	end()
	sum := finish(t, done)
	f := read(t, to.b.Bytes())
	if sum.Ended != EndedStopped || len(f.packets) != 6 || f.interfaces[0].Statistics.PacketsReceived != 3 {
		t.Errorf("%+v, %d packets", sum, len(f.packets))
	}
}

// A reader that stands still costs the shard nothing but the copies: what does
// not fit is counted, and the file says so.
func TestStalledReader(t *testing.T) {
	shards, to := new(fakeShards), newReader()
	to.stall = make(chan struct{})
	j := job()
	j.Keep.Payload = true // fewer datagrams fill a ring
	done := start(t, t.Context(), shards, j, to)
	const turns, each = 20, 1000 // several rings full
	for range turns {
		shards.turn(each)
	}
	close(to.stall)
	shards.capture.Tap(0).End()
	sum := finish(t, done)
	f := read(t, to.b.Bytes())
	if sum.Dropped == 0 || sum.Packets == 0 || sum.Packets+sum.Dropped != 2*turns*each {
		t.Errorf("%+v of %d", sum, 2*turns*each)
	}
	for l, one := range f.interfaces {
		if one.Statistics.PacketsDropped != sum.Dropped/2 || one.Statistics.PacketsReceived != turns*each {
			t.Errorf("interface %d: %+v", l, one.Statistics)
		}
	}
}

func TestGoneReader(t *testing.T) {
	shards := new(fakeShards)
	r, err := NewRecorder(shards, "").Begin(t.Context(), job())
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	_, err = r.Write(t.Context(), io.Discard, func() error { return gone })
	r.Close()
	if !errors.Is(err, gone) || shards.stopped == 0 {
		t.Errorf("%v, stopped %d times", err, shards.stopped)
	}
}

func TestRecordingsAreBounded(t *testing.T) {
	shards := new(fakeShards)
	recorder := NewRecorder(shards, "")
	var running []*Recording
	for range MaxRecordings {
		r, err := recorder.Begin(t.Context(), job())
		if err != nil {
			t.Fatal(err)
		}
		running = append(running, r)
	}
	if _, err := recorder.Begin(t.Context(), job()); !errors.Is(err, ErrFull) {
		t.Errorf("one too many: %v", err)
	}
	running[0].Close()
	shards.err = errors.New("no such session")
	for range 2 { // a refusal leaves its place to others
		if _, err := recorder.Begin(t.Context(), job()); !errors.Is(err, shards.err) {
			t.Errorf("refused by the shards: %v", err)
		}
	}
	shards.err = nil
	if r, err := recorder.Begin(t.Context(), job()); err != nil {
		t.Error(err)
	} else {
		r.Close()
	}
	for _, r := range running[1:] {
		r.Close()
	}
}

// A relay that is overloaded ends what is recorded, with the reason, and records nothing
// until that is over.
func TestSuspendedRecorder(t *testing.T) {
	shards, to := new(fakeShards), newReader()
	recorder := NewRecorder(shards, "srtrelay test")
	recorder.Suspend(false)
	begin := func() (*Recording, error) { return recorder.Begin(t.Context(), job()) }
	first, err := begin()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan outcome, 1)
	go func() {
		sum, err := first.Write(t.Context(), to, to.flush)
		first.Close()
		done <- outcome{sum, err}
	}()
	to.await(t, 100)
	shards.turn(3)
	late, err := begin() // begun, and not yet writing
	if err != nil {
		t.Fatal(err)
	}
	recorder.Suspend(true)
	recorder.Suspend(true)
	if sum := finish(t, done); sum.Ended != EndedOverload || sum.Packets != 6 {
		t.Errorf("%+v", sum)
	}
	if sum, err := late.Write(t.Context(), newReader(), newReader().flush); err != nil || sum.Ended != EndedOverload {
		t.Errorf("%+v, %v", sum, err)
	}
	late.Close()
	if _, err := begin(); !errors.Is(err, ErrSuspended) {
		t.Errorf("another one: %v", err)
	}
	recorder.Suspend(false)
	again, err := begin()
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if len(recorder.running) != 0 || len(recorder.writing) != 0 {
		t.Errorf("%d running, %d writing", len(recorder.running), len(recorder.writing))
	}
}
