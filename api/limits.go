package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"srtrelay/api/answer"
)

// Bounds of concurrent calls. A query goes to every shard, so only a few run at a
// time. A large answer holds megabytes until its client has read them, which may
// take until writeTimeout.
const (
	maxQueries = 4
	maxLarge   = 32
	// queryTimeout bounds a query and the wait for a free slot. Shards normally
	// answer in milliseconds.
	queryTimeout = 5 * time.Second
	retryAfter   = "1" // seconds; the value of the Retry-After header
)

// semaphore has as many slots as its channel has room.
type semaphore chan struct{}

// acquire waits for a free slot until ctx ends.
func (s semaphore) acquire(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for other queries: %w", ctx.Err())
	}
}

func (s semaphore) release() { <-s }

// limitLarge wraps a handler whose answer may be large: while maxLarge of them run,
// it answers 503.
func (h *handler) limitLarge(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case h.largeSlots <- struct{}{}:
		default:
			unavailable(w, "too many large answers under way")
			return
		}
		defer h.largeSlots.release()
		next(w, r)
	}
}

// queryShards runs a query as soon as a slot is free. If the query fails,
// queryShards writes the error and returns false. It releases the slot before the
// caller writes to a client that may be slow.
func (h *handler) queryShards(w http.ResponseWriter, r *http.Request, query func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
	defer cancel()
	err := h.querySlots.acquire(ctx)
	if err == nil {
		err = query(ctx)
		h.querySlots.release()
	}
	switch {
	case err == nil:
		return true
	case errors.Is(err, answer.ErrCursor):
		writeError(w, http.StatusBadRequest, "cursor: "+err.Error())
	default:
		unavailable(w, "shards cannot be asked at present: "+err.Error())
	}
	return false
}

// unavailable answers 503: the same call may succeed soon.
func unavailable(w http.ResponseWriter, why string) {
	w.Header().Set("Retry-After", retryAfter)
	writeError(w, http.StatusServiceUnavailable, why)
}

// longLived wraps a handler whose answer has no end, and what authorizes it: a token that
// is replaced after it was accepted ends the answer. The request's context ends when the
// client leaves, the server shuts down or another token is set. The handler must set a
// write deadline before each write, so that a stalled client cannot block it.
func (h *handler) longLived(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case h.longLivedSlots <- struct{}{}:
		default:
			unavailable(w, "too many feeds and captures")
			return
		}
		defer h.longLivedSlots.release()
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(h.settings.Load().revoked, cancel)()
		// The read deadline would end the answer too: net/http takes a failed
		// read for a client that has left.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		next(w, r.WithContext(ctx))
	}
}
