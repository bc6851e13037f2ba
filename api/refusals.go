package api

import (
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// refusalEvery is the least time between two lines of one kind about what outsiders do.
const refusalEvery = 10 * time.Second

// throttle lets one line pass per refusalEvery and counts the others.
type throttle struct {
	mu   sync.Mutex
	next time.Time // earliest time of the next line
	held int       // lines held back since the last one
}

// pass reports whether a line may be written now, and how many were held back before.
func (t *throttle) pass(now time.Time) (held int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.next) {
		t.held++
		return 0, false
	}
	held, t.next, t.held = t.held, now.Add(refusalEvery), 0
	return held, true
}

// refusalLog logs refused calls. SRS ignores the answer to its heartbeat, so the operator
// finds the reason in the relay's log only.
type refusalLog struct {
	log *slog.Logger
	throttle
}

func (l *refusalLog) note(now time.Time, r *http.Request, why string) {
	if held, ok := l.pass(now); ok {
		// Neither the query nor the end of the path: they may hold a token.
		l.log.Warn("call refused", "method", r.Method, "path", redactedPath(r), "from", r.RemoteAddr, "reason", why, "more_before", held)
	}
}

// refuse answers with an error and logs it.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	h.refusals.note(time.Now(), r, why)
	writeError(w, status, why)
}

// connectionLog gets the lines of net/http about connections, such as failed TLS handshakes,
// of which anybody can cause many.
type connectionLog struct {
	log *slog.Logger
	throttle
}

// Write implements io.Writer. net/http writes one line at a time.
func (l *connectionLog) Write(line []byte) (int, error) {
	if held, ok := l.pass(time.Now()); ok {
		l.log.Warn("API connection", "problem", strings.TrimSpace(string(line)), "more_before", held)
	}
	return len(line), nil
}
