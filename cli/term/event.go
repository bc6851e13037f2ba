package term

import (
	"fmt"
	"strings"
	"time"

	"srtrelay/api/answer"
)

// Event is one event as a line: when, what, and then what the kind has to
// tell, in the order in which one reads a log.
func (s Show) Event(e answer.Event) string {
	f := s.figures()
	at := e.Time.Local().Format(time.TimeOnly)
	if s.Exact {
		at = f.moment(e.Time)
	}
	parts := []string{at, pad(answer.Printable(e.Kind), len("backend-registered"), true)}
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+answer.Printable(value))
		}
	}
	add("stream", e.Stream)
	add("role", e.Role)
	add("caller", e.Caller)
	add("backend", e.Backend)
	if e.Address != e.Backend {
		add("address", e.Address)
	}
	if e.Code != 0 {
		add("code", fmt.Sprint(e.Code))
	}
	add("reason", e.Reason)
	add("cause", e.Cause)
	if e.TookMillis > 0 {
		add("took", f.took(e.TookMillis))
	}
	if e.Lost > 0 {
		add("lost", f.count(e.Lost))
	}
	add("session", e.Session)
	return strings.Join(parts, "  ")
}

// took is milliseconds for a handshake, longer units for a session.
func (f figures) took(millis float64) string {
	if f.exact || millis < 1000 {
		return f.millis(&millis)
	}
	return f.seconds(millis / 1000)
}
