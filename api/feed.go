package api

import (
	"sync"
	"time"

	"srtrelay/api/answer"
)

const (
	// feedKept is how many events are kept for readers who are behind or come
	// back. A thousand sessions that lose their backend and find another are
	// three thousand events at once; about 1 MiB.
	feedKept = 4096
	// feedReaders is far above the operators and monitors of one relay.
	feedReaders = 64
)

// Feed keeps the last events and hands them to its readers. Publishing never
// waits: there is no queue per reader, each only remembers how far it is in
// what is kept, and is told what it has missed. Any goroutine may use it.
type Feed struct {
	mu   sync.Mutex
	kept []answer.Event // by ID, modulo feedKept
	// first is the ID that the first event ever got, next the one to come.
	first, next uint64
	readers     map[*feedReader]struct{}
}

// feedReader is where one reader stands. It belongs to the reader.
type feedReader struct {
	feed *Feed
	next uint64        // the ID to read next
	wake chan struct{} // there may be something to read
}

// NewFeed returns an empty feed. IDs begin with the microseconds since 1970:
// they go on growing after a restart, so that a reader who comes back is not
// taken for one who has seen what is new, and stay below 2^53, which
// JavaScript can hold.
func NewFeed(now time.Time) *Feed {
	id := uint64(max(now.UnixMicro(), 1))
	return &Feed{kept: make([]answer.Event, 0, feedKept), first: id, next: id, readers: make(map[*feedReader]struct{})}
}

// Publish gives the event its ID and hands it on.
func (f *Feed) Publish(e answer.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.ID = f.next
	f.next++
	if len(f.kept) < feedKept {
		f.kept = append(f.kept, e)
	} else {
		f.kept[(e.ID-f.first)%feedKept] = e
	}
	for r := range f.readers {
		select {
		case r.wake <- struct{}{}:
		default: // it looks for this one too
		}
	}
}

// oldest is the ID of the oldest event kept. Locked.
func (f *Feed) oldest() uint64 { return f.next - uint64(len(f.kept)) }

// read returns a reader of what comes from now on, or nil if there are too
// many. Leave it.
func (f *Feed) read() *feedReader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.readers) >= feedReaders {
		return nil
	}
	r := &feedReader{feed: f, next: f.next, wake: make(chan struct{}, 1)}
	f.readers[r] = struct{}{}
	return r
}

// leave ends the reading.
func (r *feedReader) leave() {
	r.feed.mu.Lock()
	defer r.feed.mu.Unlock()
	delete(r.feed.readers, r)
}

// after goes back to what followed an event. One that this feed never gave is
// another relay's, or this one's before it was started anew: then all that is
// kept is news.
func (r *feedReader) after(id uint64) {
	f := r.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	r.next = f.oldest()
	if id >= f.first && id < f.next {
		r.next = id + 1
	}
}

// take copies the next events into dst and returns how many there were, and
// how many before them are kept no more.
func (r *feedReader) take(dst []answer.Event) (n int, lost uint64) {
	f := r.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if oldest := f.oldest(); r.next < oldest {
		lost = oldest - r.next
		r.next = oldest
	}
	for n < len(dst) && r.next < f.next {
		dst[n] = f.kept[(r.next-f.first)%feedKept]
		r.next++
		n++
	}
	return n, lost
}
