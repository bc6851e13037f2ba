package api

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"srtrelay/api/answer"
)

const (
	// heartbeatEvery keeps proxies from closing a quiet feed.
	heartbeatEvery = 15 * time.Second
	// feedWriteTimeout is how long a stalled reader keeps its connection.
	feedWriteTimeout = 10 * time.Second
	// feedBatch is the most events in one write.
	feedBatch = 256
	// feedHello shows the client that the feed is open before the first event, and
	// asks browsers to reconnect after 2 s.
	feedHello = ": events of srtrelay\nretry: 2000\n\n"
)

// eventFilter says which events a reader wants.
type eventFilter struct {
	kinds   []string // none for all
	streams []string // keys; none for any stream
	after   string   // ID of the last event seen; "" for new events only
	since   time.Time
	once    bool // only events that are kept already
}

// keptSince is the header that says since when the answer could have all events.
const keptSince = "Events-Kept-Since"

func (q *eventFilter) matches(e *answer.Event) bool {
	return (len(q.streams) == 0 || slices.Contains(q.streams, e.Stream)) && (len(q.kinds) == 0 || slices.Contains(q.kinds, e.Kind))
}

// eventQuery reads the filter. A browser that reconnects sends Last-Event-ID by
// itself; after is the same for other clients, and 0 asks for all events kept.
func eventQuery(r *http.Request) (eventFilter, error) {
	p := parseQuery(r.URL.RawQuery, "kind", "stream", "after", "since", "follow")
	q := eventFilter{
		kinds: p.values["kind"], after: p.text("after"), since: p.since("since", time.Now()),
		once: p.word("follow", []string{"true", "false"}) == "false",
	}
	if p.values.Has("stream") {
		q.streams = streamNames(answer.Unescape(p.text("stream")))
	}
	name := "after"
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		name, q.after = "Last-Event-ID", last
	}
	if _, err := strconv.ParseUint(q.after, 10, 64); err != nil && q.after != "" {
		p.invalid(name, strconv.Quote(q.after)+" is not the ID of an event")
	}
	for _, k := range q.kinds {
		if !slices.Contains(answer.EventKinds, k) {
			p.invalid("kind", strconv.Quote(k)+" is no kind of event")
		}
	}
	return q, p.err
}

// since returns a time, given as such or as how long ago; the zero Time if it is
// missing.
func (p *parameters) since(name string, now time.Time) time.Time {
	text := p.text(name)
	if text == "" {
		return time.Time{}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago)
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		p.invalid(name, strconv.Quote(text)+" is neither a duration like 10m nor a time like 2006-01-02T15:04:05Z")
	}
	return at
}

// resume moves a reader to where the answer begins. It returns since when the feed has
// all events.
func (q *eventFilter) resume(reader *feedReader) (whole time.Time) {
	switch {
	case q.after != "":
		whole = reader.resumeSince(time.Time{})
		id, _ := strconv.ParseUint(q.after, 10, 64) // eventQuery has checked it
		reader.resumeAfter(id)
	case q.once || !q.since.IsZero():
		whole = reader.resumeSince(q.since)
	}
	return whole
}

// nameStream leaves only the exact name if there is a stream of it. Otherwise one may
// begin, and so the filter keeps both that the name may mean. The same goes for shards
// that do not answer.
func (h *handler) nameStream(ctx context.Context, q *eventFilter) {
	if len(q.streams) < 2 {
		return
	}
	limited, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if h.querySlots.acquire(limited) != nil {
		return
	}
	defer h.querySlots.release()
	if key, found, err := findStream(limited, h.deps.Streams, q.streams[0]); err == nil && found && key == q.streams[0] {
		q.streams = q.streams[:1]
	}
}

// events streams the feed as server-sent events.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	q, err := eventQuery(r)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	h.nameStream(r.Context(), &q)
	reader := h.deps.Feed.subscribe()
	if reader == nil {
		unavailable(w, "too many readers of events")
		return
	}
	defer reader.unsubscribe()
	header := w.Header()
	if whole := q.resume(reader); !whole.IsZero() {
		header.Set(keptSince, whole.UTC().Format(time.RFC3339Nano))
	}
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Accel-Buffering", "no") // else nginx buffers the events
	f := feedWriter{q: q, reader: reader, w: w, control: http.NewResponseController(w)}
	if !f.send([]byte(feedHello)) {
		return
	}
	if q.once {
		f.writePending()
		return
	}
	heart := time.NewTicker(heartbeatEvery)
	defer heart.Stop()
	for f.writePending() {
		select {
		case <-reader.wake:
		case <-heart.C:
			if !f.send([]byte(": heartbeat\n\n")) {
				return
			}
		case <-r.Context().Done():
			f.writePending() // at a shutdown, the ends of the last sessions
			return
		}
	}
}

// feedWriter writes a feed to one client.
type feedWriter struct {
	q       eventFilter
	reader  *feedReader
	w       http.ResponseWriter
	control *http.ResponseController
	batch   [feedBatch]answer.Event
	text    bytes.Buffer
}

// send writes and flushes. It returns false if the client is gone or stalled.
func (f *feedWriter) send(text []byte) bool {
	_ = f.control.SetWriteDeadline(time.Now().Add(feedWriteTimeout))
	if _, err := f.w.Write(text); err != nil {
		return false
	}
	return f.control.Flush() == nil
}

// writePending writes all events that the reader has not had. It returns false if the
// client is gone.
func (f *feedWriter) writePending() bool {
	for {
		n, lost := f.reader.read(f.batch[:])
		f.text.Reset()
		if lost > 0 {
			// With the ID of the last event missed, so that a client that
			// reconnects after it does not count them again.
			f.add(&answer.Event{ID: f.reader.next - uint64(n) - 1, Time: time.Now().UTC(), Kind: answer.EventLost, Lost: lost})
		}
		for i := range f.batch[:n] {
			if e := &f.batch[i]; f.q.matches(e) {
				f.add(e)
			}
		}
		if f.text.Len() > 0 && !f.send(f.text.Bytes()) {
			return false
		}
		if n < len(f.batch) {
			return true
		}
	}
}

func (f *feedWriter) add(e *answer.Event) {
	line, err := e.Line()
	if err != nil {
		return // no field holds what JSON cannot
	}
	f.text.WriteString("id: " + strconv.FormatUint(e.ID, 10) + "\nevent: " + e.Kind + "\ndata: ")
	f.text.Write(line)
	f.text.WriteString("\n")
}
