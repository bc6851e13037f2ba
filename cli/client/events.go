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
	// feedSilence is three of the relay's heartbeats: who says nothing for so
	// long is gone, though the connection may not know it.
	feedSilence = 45 * time.Second
	// retryFirst and retryLast bound the wait before the next attempt, which
	// doubles. A relay restarts in a second or two.
	retryFirst = 250 * time.Millisecond
	retryLast  = 5 * time.Second
)

// EventQuery says which events are wanted. Empty fields ask for all.
type EventQuery struct {
	Kinds  []string
	Stream string
}

// Feed is told what comes of following the events. Its calls come one after
// the other from one goroutine.
type Feed struct {
	// Event takes one event, and its JSON as it came. An error ends Follow.
	Event func(e answer.Event, raw []byte) error
	// Away says that the relay could not be reached or has gone; Follow tries
	// again. Back says that it answers again.
	Away func(err error)
	Back func()
	// Wait returns after about d, or earlier when ctx ends; nil for a timer.
	Wait func(ctx context.Context, d time.Duration)
}

// Follow reads the relay's events until ctx ends, which is no error. A relay
// that goes away is asked again for what came since, but one that refuses or
// cannot be reached at the very beginning is an error.
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
		// The feed is full or its session forgotten: that may pass. A wrong
		// token or kind does not.
		if r, ok := errors.AsType[*Refusal](err); !f.met || ok && r.Status < 500 && r.Status != http.StatusTooManyRequests {
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

// follower is what one Follow remembers between connections.
type follower struct {
	client    *Client
	query     EventQuery
	feed      Feed
	last      string // the ID of the last event
	met, away bool
	wait      time.Duration
}

// stopped wraps what the receiver of events returned.
type stopped struct{ cause error }

func (s *stopped) Error() string { return s.cause.Error() }

// read follows one connection to its end, which is always an error.
func (f *follower) read(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(feedSilence, func() {
		cancel(fmt.Errorf("nothing heard of %s for %v", f.client.api, feedSilence))
	})
	defer silence.Stop()
	header := http.Header{"Accept": {"text/event-stream"}}
	if f.last != "" {
		header.Set("Last-Event-ID", f.last)
	}
	query := url.Values{}
	if len(f.query.Kinds) > 0 {
		query["kind"] = f.query.Kinds
	}
	if f.query.Stream != "" {
		query.Set("stream", f.query.Stream)
	}
	response, err := f.client.open(ctx, "/api/v1/events", query, header, "text/event-stream")
	if err != nil {
		return cmpCause(ctx, err)
	}
	defer response.Body.Close()
	f.met = true
	if f.away {
		f.away, f.wait = false, retryFirst
		f.feed.Back()
	}
	err = readFrames(response.Body, func() { silence.Reset(feedSilence) }, f.take)
	if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%s has closed the feed", f.client.api)
	}
	return cmpCause(ctx, err)
}

// cmpCause prefers why a context was ended to the fact that it was.
func cmpCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (f *follower) take(frame sseFrame) error {
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

// open starts an answer that goes on for as long as ctx does. An answer of
// another kind is an error: the relay's own, or that of something else.
func (c *Client) open(ctx context.Context, path string, query url.Values, header http.Header, kinds ...string) (*http.Response, error) {
	response, err := c.send(ctx, http.MethodGet, path, query, header)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK && isKind(response, kinds) {
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
