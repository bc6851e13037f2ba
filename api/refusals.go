package api

import (
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// refusals logs refused calls: SRS looks at no answer to its heartbeat, so the
// relay's log is where an operator finds out. Whoever is refused a thousand
// times a second must not fill it.
type refusals struct {
	log *slog.Logger

	mu   sync.Mutex
	next time.Time // when there may be another line
	held int       // refusals since the last line
}

// refusalEvery is the least time between two lines.
const refusalEvery = 10 * time.Second

func (f *refusals) note(now time.Time, r *http.Request, why string) {
	f.mu.Lock()
	held := f.held
	if now.Before(f.next) {
		f.held++
		f.mu.Unlock()
		return
	}
	f.next, f.held = now.Add(refusalEvery), 0
	f.mu.Unlock()
	// Neither the query nor the end of the path: they may hold a token.
	f.log.Warn("call refused", "method", r.Method, "path", shownPath(r), "from", r.RemoteAddr, "reason", why, "more_before", held)
}

// refuse answers with an error and notes it for the operator.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	h.refusals.note(time.Now(), r, why)
	fail(w, status, why)
}
