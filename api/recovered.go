package api

import "net/http"

// recovered has a call that panics logged and counted, and its connection cut
// off: how much of an answer is out nobody knows. Without a Supervisor net/http
// does the same, but for the count.
func (h *handler) recovered(next http.Handler) http.Handler {
	if h.rooms.Supervisor == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler: // not a fault: net/http's own way to cut off
				panic(v)
			default:
				_ = h.rooms.Supervisor.Caught("api", "the call is cut off", v)
				panic(http.ErrAbortHandler) // which net/http does not log again
			}
		}()
		next.ServeHTTP(w, r)
	})
}
