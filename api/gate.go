package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"srtrelay/api/answer"
)

// What may be under way at once. A question goes to every shard, so that few
// are asked at a time; a large answer is megabytes that wait for its reader,
// who may be slow until writeTimeout.
const (
	maxAsking = 4
	maxLarge  = 32
	// askTimeout bounds a question, waiting for its turn included: the shards
	// answer in milliseconds unless something is amiss.
	askTimeout = 5 * time.Second
	retryAfter = "1" // seconds, as the header wants it
)

// gate lets as many in as it has room.
type gate chan struct{}

// enter waits for room until ctx ends.
func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for other questions: %w", ctx.Err())
	}
}

func (g gate) leave() { <-g }

// bounded refuses a call whose answer may be large while too many are under
// way.
func (h *handler) bounded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case h.large <- struct{}{}:
		default:
			unavailable(w, "too many large answers under way")
			return
		}
		defer h.large.leave()
		next(w, r)
	}
}

// ask runs a question to the shards when it is its turn. It answers itself,
// and returns false, if there is nothing to tell. The slot is free again
// before the first byte goes to a client that may be slow.
func (h *handler) ask(w http.ResponseWriter, r *http.Request, question func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	err := h.asking.enter(ctx)
	if err == nil {
		err = question(ctx)
		h.asking.leave()
	}
	switch {
	case err == nil:
		return true
	case errors.Is(err, answer.ErrCursor):
		fail(w, http.StatusBadRequest, "cursor: "+err.Error())
	default:
		unavailable(w, "shards cannot be asked at present: "+err.Error())
	}
	return false
}

// unavailable says that the same call may succeed soon.
func unavailable(w http.ResponseWriter, why string) {
	w.Header().Set("Retry-After", retryAfter)
	fail(w, http.StatusServiceUnavailable, why)
}
