package api

import (
	"context"
	"net/http"
	"time"
)

// endless is for an answer that goes on until the client leaves or the server
// shuts down, which ends its request. The handler sets a write deadline before
// each write: a client that stands still must not hold it up.
func (h *handler) endless(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case h.lasting <- struct{}{}:
		default:
			unavailable(w, "too many feeds and captures")
			return
		}
		defer h.lasting.leave()
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(h.closing, cancel)()
		// The deadline for reading the request would end the answer as well
		// (net/http takes a failed read for a client that has left).
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		next(w, r.WithContext(ctx))
	}
}
