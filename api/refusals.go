package api

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"srtrelay/internal/throttle"
)

// refusalLog logs refused calls. SRS ignores the answer to its heartbeat, so the operator
// finds the reason in the relay's log only.
type refusalLog struct {
	log *slog.Logger
	throttle.Throttle
}

func (l *refusalLog) note(now time.Time, r *http.Request, why string) {
	if held, ok := l.Pass(now); ok {
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
	throttle.Throttle
}

// Write implements io.Writer. net/http writes one line at a time.
func (l *connectionLog) Write(line []byte) (int, error) {
	if held, ok := l.Pass(time.Now()); ok {
		l.log.Warn("API connection", "problem", strings.TrimSpace(string(line)), "more_before", held)
	}
	return len(line), nil
}
