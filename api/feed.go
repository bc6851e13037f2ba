package api

import (
	"context"
	"sync"
	"time"

	"srtrelay/api/answer"
)

const (
	// feedSize is how many events are kept for readers that are behind or reconnect,
	// about 1 MiB. A thousand sessions that move to another backend make three
	// thousand events at once.
	feedSize = 4096
	// maxFeedReaders is far above the number of operators and monitors of a relay.
	maxFeedReaders = 64
)

// Feed keeps the last events for its readers. Publish never waits: readers have no
// queues, only a position in the ring of events, and learn how many they missed. Any
// goroutine may use it.
type Feed struct {
	mu   sync.Mutex
	kept []answer.Event // by ID, modulo feedSize
	// first is the ID of the first event ever, next that of the next one.
	first, next uint64
	began       time.Time
	readers     map[*feedReader]struct{}

	// holding keeps new events in held until Release or Restore.
	holding bool
	held    []answer.Event
	// handed is the ID of the first event of this process, if others were restored.
	handed uint64
	// former are the IDs that the events have had before the last ReleaseAnew.
	former formerIDs
}

// feedReader is one reader's position. It belongs to the reader.
type feedReader struct {
	feed *Feed
	next uint64        // the ID to read next
	wake chan struct{} // receives when there may be something to read
}

// NewFeed returns an empty feed. IDs begin with the microseconds since 1970: so they
// grow over a restart, and a reader of the process before misses nothing. They stay
// below 2^53, the largest integer of JavaScript.
func NewFeed(now time.Time) *Feed {
	id := uint64(max(now.UnixMicro(), 1))
	return &Feed{kept: make([]answer.Event, 0, feedSize), first: id, next: id, began: now, readers: make(map[*feedReader]struct{})}
}

// Publish gives the event its ID and wakes the readers.
func (f *Feed) Publish(e answer.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holding {
		if len(f.held) == feedSize {
			f.held = f.held[1:]
		}
		f.held = append(f.held, e)
		return
	}
	f.publish(e)
}

// publish is Publish with mu held.
func (f *Feed) publish(e answer.Event) {
	e.ID = f.next
	f.next++
	if len(f.kept) < feedSize {
		f.kept = append(f.kept, e)
	} else {
		f.kept[(e.ID-f.first)%feedSize] = e
	}
	for r := range f.readers {
		select {
		case r.wake <- struct{}{}:
		default: // already woken
		}
	}
}

// oldest returns the ID of the oldest event kept. Called with mu held.
func (f *Feed) oldest() uint64 { return f.next - uint64(len(f.kept)) }

// subscribe returns a reader of all events from now on, or nil if there are too many
// readers. The caller must call unsubscribe.
func (f *Feed) subscribe() *feedReader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.readers) >= maxFeedReaders {
		return nil
	}
	r := &feedReader{feed: f, next: f.next, wake: make(chan struct{}, 1)}
	f.readers[r] = struct{}{}
	return r
}

// unsubscribe removes the reader from its feed.
func (r *feedReader) unsubscribe() {
	r.feed.mu.Lock()
	defer r.feed.mu.Unlock()
	delete(r.feed.readers, r)
}

// resumeAfter moves the reader behind the event with this ID. If this feed has no such
// event, the ID is of another process, and the reader gets all events that are kept.
func (r *feedReader) resumeAfter(id uint64) {
	f := r.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	r.next = f.oldest()
	switch at, known := f.former.after(id); {
	case id >= f.first && id < f.next:
		r.next = id + 1
	case known:
		r.next = max(at, f.oldest())
	}
}

// resumeSince moves the reader to the first event kept that is not before a time. It
// returns since when the feed has all events.
func (r *feedReader) resumeSince(at time.Time) (whole time.Time) {
	f := r.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	oldest := f.oldest()
	for r.next = oldest; r.next < f.next && f.at(r.next).Time.Before(at); r.next++ {
	}
	if oldest == f.first {
		return f.began
	}
	return f.at(oldest).Time
}

// at returns the event of an ID that is kept. Called with mu held.
func (f *Feed) at(id uint64) *answer.Event { return &f.kept[(id-f.first)%feedSize] }

// read copies the next events into dst. It returns their number, and how many before
// them were overwritten.
func (r *feedReader) read(dst []answer.Event) (n int, lost uint64) {
	f := r.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if oldest := f.oldest(); r.next < oldest {
		lost = oldest - r.next
		r.next = oldest
	}
	for n < len(dst) && r.next < f.next {
		dst[n] = f.kept[(r.next-f.first)%feedSize]
		r.next++
		n++
	}
	return n, lost
}

// Follower reads a feed within the process. One goroutine uses it.
type Follower struct {
	reader *feedReader
	batch  [feedBatch]answer.Event
}

// NewFollower returns a follower of all events of this process that the feed has and gets.
func NewFollower(f *Feed) *Follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &feedReader{feed: f, next: max(f.oldest(), f.handed), wake: make(chan struct{}, 1)}
	f.readers[r] = struct{}{}
	return &Follower{reader: r}
}

// Run passes events on until ctx ends, and then those that there still are. take gets
// them, and how many before them were overwritten. It must not keep them.
func (f *Follower) Run(ctx context.Context, take func(events []answer.Event, lost uint64)) {
	for {
		for n := feedBatch; n == feedBatch; {
			var lost uint64
			if n, lost = f.reader.read(f.batch[:]); n > 0 || lost > 0 {
				take(f.batch[:n], lost)
			}
		}
		select {
		case <-f.reader.wake:
		case <-ctx.Done():
			if f.reader.done() {
				return
			}
		}
	}
}

// done reports whether the reader has had all events.
func (r *feedReader) done() bool {
	r.feed.mu.Lock()
	defer r.feed.mu.Unlock()
	return r.next == r.feed.next
}
