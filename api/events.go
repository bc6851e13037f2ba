package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"srtrelay/api/answer"
)

const (
	// heartbeatEvery keeps proxies from taking a quiet feed for a dead one.
	heartbeatEvery = 15 * time.Second
	// feedPatience is how long a reader may stand still before it is cut off.
	feedPatience = 10 * time.Second
	// feedBatch is how many events one write may carry.
	feedBatch = 256
	// feedHello opens the answer, so that it is seen before the first event,
	// and asks browsers to come back after 2 s.
	feedHello = ": events of srtrelay\nretry: 2000\n\n"
)

// wanted is what a reader of events asked for.
type wanted struct {
	kinds  []string // none for all
	stream string
	any    bool   // of any stream
	after  string // "" for what is new
}

func (q *wanted) takes(e *answer.Event) bool {
	return (q.any || e.Stream == q.stream) && (len(q.kinds) == 0 || slices.Contains(q.kinds, e.Kind))
}

// eventQuery reads what is wanted. Last-Event-ID is what a browser sends by
// itself when it comes back; after says the same for others, and 0 asks for
// all that is kept.
func eventQuery(r *http.Request) (wanted, error) {
	p := parseQuery(r.URL.RawQuery, "kind", "stream", "after")
	q := wanted{kinds: p.values["kind"], stream: answer.Unescape(p.text("stream")), any: !p.values.Has("stream"), after: p.text("after")}
	name := "after"
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		name, q.after = "Last-Event-ID", last
	}
	if _, err := strconv.ParseUint(q.after, 10, 64); err != nil && q.after != "" {
		p.blame(name, strconv.Quote(q.after)+" is not the ID of an event")
	}
	for _, k := range q.kinds {
		if !slices.Contains(answer.EventKinds, k) {
			p.blame("kind", strconv.Quote(k)+" is no kind of event")
		}
	}
	return q, p.err
}

// events tells what happens, as server-sent events.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	q, err := eventQuery(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	reader := h.rooms.Feed.read()
	if reader == nil {
		unavailable(w, "too many readers of events")
		return
	}
	defer reader.leave()
	if q.after != "" {
		id, _ := strconv.ParseUint(q.after, 10, 64) // looked at above
		reader.after(id)
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Accel-Buffering", "no") // nginx would keep events to itself
	f := follower{q: q, reader: reader, w: w, control: http.NewResponseController(w)}
	if !f.send([]byte(feedHello)) {
		return
	}
	heart := time.NewTicker(heartbeatEvery)
	defer heart.Stop()
	for f.tell() {
		select {
		case <-reader.wake:
		case <-heart.C:
			if !f.send([]byte(": heartbeat\n\n")) {
				return
			}
		case <-r.Context().Done():
			f.tell() // how the last sessions ended, if the server shuts down
			return
		}
	}
}

// follower writes a feed to one client.
type follower struct {
	q       wanted
	reader  *feedReader
	w       http.ResponseWriter
	control *http.ResponseController
	batch   [feedBatch]answer.Event
	text    bytes.Buffer
}

// send writes at once. False means that the client is gone, or stands still.
func (f *follower) send(text []byte) bool {
	_ = f.control.SetWriteDeadline(time.Now().Add(feedPatience))
	if _, err := f.w.Write(text); err != nil {
		return false
	}
	return f.control.Flush() == nil
}

// tell writes all there is to tell. False means that nobody listens any more.
func (f *follower) tell() bool {
	for {
		n, lost := f.reader.take(f.batch[:])
		f.text.Reset()
		if lost > 0 {
			// Its ID is that of the last event missed: nothing is missed twice.
			f.add(&answer.Event{ID: f.reader.next - uint64(n) - 1, Time: time.Now().UTC(), Kind: answer.EventLost, Lost: lost})
		}
		for i := range f.batch[:n] {
			if e := &f.batch[i]; f.q.takes(e) {
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

func (f *follower) add(e *answer.Event) {
	body, err := json.Marshal(showEvent(*e))
	if err != nil {
		return // no field holds what JSON cannot
	}
	f.text.WriteString("id: " + strconv.FormatUint(e.ID, 10) + "\nevent: " + e.Kind + "\ndata: ")
	f.text.Write(answer.EscapeJSON(body))
	f.text.WriteString("\n\n")
}
