package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"srtrelay/api/answer"
)

// Bounds of the event feed.
const (
	// feedSilence is three of the relay's heartbeats. After that the connection counts as
	// lost.
	feedSilence = 45 * time.Second
	// retryFirst and retryLast bound the wait before the next attempt, which doubles each
	// time. A relay restarts in a second or two.
	retryFirst = 250 * time.Millisecond
	retryLast  = 5 * time.Second
)

// EventQuery selects events. Empty fields select all.
type EventQuery struct {
	Kinds  []string
	Stream string
	// Since begins with past events: how long ago, or a time in RFC 3339.
	Since string
	// Once ends Follow after the events that the relay has kept.
	Once bool
}

func (q EventQuery) values() url.Values {
	all := url.Values{}
	if len(q.Kinds) > 0 {
		all["kind"] = q.Kinds
	}
	if q.Stream != "" {
		all.Set("stream", q.Stream)
	}
	if q.Since != "" {
		all.Set("since", q.Since)
	}
	if q.Once {
		all.Set("follow", "false")
	}
	return all
}

// Feed are the callbacks of Follow. One goroutine makes all calls.
type Feed struct {
	// Event is called with each event and its JSON. An error ends Follow.
	Event func(e answer.Event, raw []byte) error
	// KeptSince is called before the first event, if there are to be past ones, with
	// the time since when the relay has all events; nil for no call.
	KeptSince func(time.Time)
	// Away is called when the connection is lost; Follow reconnects. Back is called when
	// the relay answers again.
	Away func(err error)
	Back func()
	// Wait returns after d or when ctx ends; nil for a timer.
	Wait func(ctx context.Context, d time.Duration)
}

// Follow reads the relay's events until ctx ends, which is not an error. After a lost
// connection it reconnects and asks for the events since. It is an error if the relay refuses
// the call or cannot be reached at the beginning.
func (c *Client) Follow(ctx context.Context, q EventQuery, feed Feed) error {
	f := follower{client: c, query: q, feed: feed, wait: retryFirst}
	if f.feed.Wait == nil {
		f.feed.Wait = sleep
	}
	for {
		err := f.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if stop, ok := errors.AsType[*stopped](err); ok {
			return stop.cause
		}
		// A full feed is temporary; a wrong token or kind is not.
		if r, ok := errors.AsType[*APIError](err); !f.connected || ok && r.Status < 500 && r.Status != http.StatusTooManyRequests {
			return err
		}
		if !f.away {
			f.away = true
			feed.Away(err)
		}
		f.feed.Wait(ctx, f.wait)
		f.wait = min(2*f.wait, retryLast)
	}
}

// follower is the state of Follow between connections.
type follower struct {
	client          *Client
	query           EventQuery
	feed            Feed
	last            string // the ID of the last event
	connected, away bool
	wait            time.Duration
}

// stopped ends Follow: with the error of Feed.Event, or with none after the last event.
type stopped struct{ cause error }

func (s *stopped) Error() string { return fmt.Sprint(s.cause) }

// read reads one connection to its end, which is always an error.
func (f *follower) read(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(feedSilence, func() {
		cancel(fmt.Errorf("nothing received from %s for %v", f.client.api, feedSilence))
	})
	defer silence.Stop()
	header := http.Header{"Accept": {"text/event-stream"}}
	if f.last != "" {
		header.Set("Last-Event-ID", f.last)
	}
	response, err := f.client.openStream(ctx, "/api/v1/events", f.query.values(), header, "text/event-stream")
	if err != nil {
		return causeOf(ctx, err)
	}
	defer response.Body.Close()
	if kept, err := time.Parse(time.RFC3339, response.Header.Get("Events-Kept-Since")); err == nil && !f.connected && f.feed.KeptSince != nil {
		f.feed.KeptSince(kept)
	}
	f.connected = true
	if f.away {
		f.away, f.wait = false, retryFirst
		f.feed.Back()
	}
	err = readFrames(response.Body, func() { silence.Reset(feedSilence) }, f.handle)
	if err == nil && f.query.Once {
		return &stopped{nil}
	}
	if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%s has closed the feed", f.client.api)
	}
	return causeOf(ctx, err)
}

// causeOf returns the cause of the context's end, or err if it has not ended.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (f *follower) handle(frame sseFrame) error {
	if frame.id != "" {
		f.last = frame.id
	}
	if len(frame.data) == 0 {
		return nil
	}
	var e answer.Event
	if err := json.Unmarshal(frame.data, &e); err != nil {
		return &stopped{fmt.Errorf("%s sends events that cannot be read: %w", f.client.api, err)}
	}
	if err := f.feed.Event(e, frame.data); err != nil {
		return &stopped{err}
	}
	return nil
}

// openStream makes a call whose answer lasts until ctx ends. An answer with another media
// type is an error.
func (c *Client) openStream(ctx context.Context, path string, query url.Values, header http.Header, kinds ...string) (*http.Response, error) {
	response, err := c.send(ctx, http.MethodGet, path, query, header)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK && hasMediaType(response, kinds) {
		return response, nil
	}
	defer response.Body.Close()
	body, err := c.read(response.Body)
	if err != nil {
		return nil, err
	}
	if err := c.check(response, body); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%s is no srtrelay, or another version: answers with %s", c.api, response.Header.Get("Content-Type"))
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
