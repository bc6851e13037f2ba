package api

import (
	"net/http"

	"srtrelay/api/answer"
)

// Text that callers chose leaves the API escaped, and a stream's key in a request is
// unescaped; see answer.Escape. Inside the relay such text is as the caller sent it.

// sanitizeSession escapes text, and removes the socket IDs unless the client may see
// them.
func sanitizeSession(s *answer.Session, socketIDs bool) {
	s.Stream, s.StreamID = answer.Escape(s.Stream), answer.Escape(s.StreamID)
	s.SRT.Filter, s.SRT.Congestion = answer.Printable(s.SRT.Filter), answer.Printable(s.SRT.Congestion)
	if !socketIDs {
		s.CallerSocketID, s.BackendSocketID = 0, 0
	}
}

// sanitizeSessions returns sanitized copies of sessions for the client of a request.
func (h *handler) sanitizeSessions(r *http.Request, list []answer.Session) []answer.Session {
	socketIDs := h.maySeeSocketIDs(r)
	shown := make([]answer.Session, len(list)) // if empty, [] in JSON and not null
	copy(shown, list)
	for i := range shown {
		sanitizeSession(&shown[i], socketIDs)
	}
	return shown
}

// sanitizeResolution escapes the text of a resolution.
func sanitizeResolution(d resolution) resolution {
	for _, text := range []*string{&d.StreamID, &d.Rewritten, &d.Vhost, &d.App, &d.Stream, &d.Params, &d.Key} {
		*text = answer.Escape(*text)
	}
	d.Why = answer.Printable(d.Why)
	return d
}
