package api

import (
	"fmt"
	"math"
	"time"

	"srtrelay/api/answer"
	"srtrelay/internal/message"
)

// feedVersion is the version of what Feed.AppendSnapshot writes.
const feedVersion = 1

// maxID is the largest integer of JavaScript.
const maxID = 1 << 53

// Fields of the snapshot of a Feed. Times are those of the day, in ns, because they are
// for readers.
const (
	feedFirst message.Number = 2
	feedNext  message.Number = 3
	feedBegan message.Number = 4
	feedEvent message.Number = 5 // in order of their IDs
)

// Fields of an event.
const (
	eventTime     message.Number = 1
	eventKind     message.Number = 2
	eventShard    message.Number = 3 // plus 1
	eventSession  message.Number = 4
	eventStream   message.Number = 5
	eventRole     message.Number = 6
	eventCaller   message.Number = 7
	eventBackend  message.Number = 8
	eventAddress  message.Number = 9
	eventCode     message.Number = 10
	eventReason   message.Number = 11
	eventCause    message.Number = 12
	eventTook     message.Number = 13 // in ms
	eventLost     message.Number = 14
	eventFormer   message.Number = 15
	eventLimit    message.Number = 16
	eventBitrate  message.Number = 17
	eventMost     message.Number = 18 // MaxBitrate
	eventStep     message.Number = 19
	eventInput    message.Number = 20
	eventPressure message.Number = 21 // Pressure
)

// Hold keeps new events aside, without an ID, until Release or Restore: two processes must
// not give the same ID to different events.
func (f *Feed) Hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holding = true
}

// Release publishes the events since Hold, and all later ones at once.
func (f *Feed) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holding = false
	for _, e := range f.held {
		f.publish(e)
	}
	f.held = nil
}

// idGap is more events than a process publishes in its probation.
const idGap = 1 << 20

// formerIDs are the IDs, from first on, that events had before they got others, which are larger
// by shift. A process that has died gave those from next on.
type formerIDs struct{ first, next, shift uint64 }

// after returns the present ID of the first event after a former ID. A reader of the other
// process has had all events before its first.
func (o *formerIDs) after(id uint64) (present uint64, known bool) {
	return min(id+1, o.next) + o.shift, id >= o.first && id < o.next+o.shift
}

// ReleaseAnew is Release after another process has gone on for a while and has died: it has
// given IDs that this one does not know, and readers have them. All events get other IDs.
func (f *Feed) ReleaseAnew(now time.Time) {
	f.mu.Lock()
	next := max(f.next+idGap, uint64(max(now.UnixMicro(), 0)))
	if next < maxID {
		f.renumber(next - f.next)
	}
	f.mu.Unlock()
	f.Release()
}

// renumber moves the IDs of all events. Called with mu held.
func (f *Feed) renumber(shift uint64) {
	f.former = formerIDs{f.first, f.next, shift}
	for i := range f.kept {
		f.kept[i].ID += shift
	}
	f.first, f.next = f.first+shift, f.next+shift
	f.handed += shift
	for r := range f.readers {
		r.next += shift
	}
}

// AppendSnapshot appends the events that are kept and their IDs, with which another
// process goes on. After Hold they are those of the moment of Hold.
func (f *Feed) AppendSnapshot(b []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	b = message.AppendVersion(b, feedVersion)
	b = message.AppendUint(b, feedFirst, f.first)
	b = message.AppendUint(b, feedNext, f.next)
	b = message.AppendFixed64(b, feedBegan, uint64(f.began.UnixNano()))
	for id := f.oldest(); id < f.next; id++ {
		out, mark := message.Open(b, feedEvent)
		b = message.Close(appendEvent(out, f.at(id)), mark)
	}
	return b
}

func appendEvent(b []byte, e *answer.Event) []byte {
	if !e.Time.IsZero() {
		b = message.AppendFixed64(b, eventTime, uint64(e.Time.UnixNano()))
	}
	b = message.AppendBytes(b, eventKind, e.Kind)
	if e.Shard != nil {
		b = message.AppendUint(b, eventShard, uint64(*e.Shard)+1)
	}
	b = message.AppendBytes(b, eventSession, e.Session)
	b = message.AppendBytes(b, eventStream, e.Stream)
	b = message.AppendBytes(b, eventRole, e.Role)
	b = message.AppendBytes(b, eventCaller, e.Caller)
	b = message.AppendBytes(b, eventBackend, e.Backend)
	b = message.AppendBytes(b, eventAddress, e.Address)
	b = message.AppendUint(b, eventCode, uint64(e.Code))
	b = message.AppendBytes(b, eventReason, e.Reason)
	b = message.AppendBytes(b, eventCause, e.Cause)
	b = message.AppendFixed64(b, eventTook, math.Float64bits(e.TookMillis))
	b = message.AppendUint(b, eventLost, e.Lost)
	b = message.AppendBytes(b, eventFormer, e.Former)
	b = message.AppendBytes(b, eventLimit, e.Limit)
	b = message.AppendBytes(b, eventStep, e.Step)
	b = message.AppendBytes(b, eventInput, e.Input)
	for _, one := range []struct {
		number message.Number
		value  float64
	}{{eventBitrate, e.Bitrate}, {eventMost, e.MaxBitrate}, {eventPressure, e.Pressure}} {
		if one.value != 0 {
			b = message.AppendFixed64(b, one.number, math.Float64bits(one.value))
		}
	}
	return b
}

// Restore makes the feed go on as the one that appended a snapshot, with the same events
// and the next ID. What this feed had is dropped, and its readers read on from there. After
// an error nothing has changed.
func (f *Feed) Restore(b []byte) error {
	old, err := readFeed(b)
	if err != nil {
		return fmt.Errorf("snapshot of the events: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.first, f.next, f.began, f.kept = old.first, old.next, old.began, old.kept
	f.holding, f.held, f.handed = false, nil, old.next
	for r := range f.readers {
		r.next = f.next
	}
	return nil
}

// readFeed returns a feed without readers.
func readFeed(b []byte) (*Feed, error) {
	f := &Feed{}
	var events []answer.Event
	r, err := message.ReadVersion(b, feedVersion, feedVersion)
	if err != nil {
		return nil, err
	}
	for r.Next() {
		switch r.Number() {
		case feedFirst:
			f.first = message.Uint[uint64](&r)
		case feedNext:
			f.next = message.Uint[uint64](&r)
		case feedBegan:
			f.began = time.Unix(0, int64(message.Uint[uint64](&r)))
		case feedEvent:
			if len(events) == feedSize {
				r.Refuse("more events than a feed keeps")
			}
			events = append(events, readEvent(&r))
		}
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if f.first == 0 || f.next < f.first || f.next > maxID || min(f.next-f.first, feedSize) != uint64(len(events)) {
		return nil, message.ErrDamaged
	}
	f.kept = make([]answer.Event, len(events), feedSize)
	for i, e := range events {
		e.ID = f.next - uint64(len(events)-i)
		*f.at(e.ID) = e
	}
	return f, nil
}

func readEvent(in *message.Reader) (e answer.Event) {
	r := message.Read(in.Bytes())
	for r.Next() {
		switch r.Number() {
		case eventTime:
			e.Time = time.Unix(0, int64(message.Uint[uint64](&r))).UTC()
		case eventShard:
			shard := int(message.Uint[uint16](&r)) - 1
			e.Shard = &shard
		case eventCode:
			e.Code = int(message.Uint[uint32](&r))
		case eventTook:
			e.TookMillis = r.Float()
		case eventLost:
			e.Lost = message.Uint[uint64](&r)
		case eventBitrate:
			e.Bitrate = r.Float()
		case eventMost:
			e.MaxBitrate = r.Float()
		case eventPressure:
			e.Pressure = r.Float()
		default:
			if text := textOf(&e, r.Number()); text != nil {
				*text = r.String()
			}
		}
	}
	in.Fail(r.Err())
	return e
}

// textOf returns the text of an event with a number, nil for none.
func textOf(e *answer.Event, n message.Number) *string {
	switch n {
	case eventKind:
		return &e.Kind
	case eventSession:
		return &e.Session
	case eventStream:
		return &e.Stream
	case eventRole:
		return &e.Role
	case eventCaller:
		return &e.Caller
	case eventBackend:
		return &e.Backend
	case eventAddress:
		return &e.Address
	case eventReason:
		return &e.Reason
	case eventCause:
		return &e.Cause
	case eventFormer:
		return &e.Former
	case eventLimit:
		return &e.Limit
	case eventStep:
		return &e.Step
	case eventInput:
		return &e.Input
	}
	return nil
}
