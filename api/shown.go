package api

import (
	"net/http"

	"srtrelay/api/answer"
)

// What callers chose goes out escaped, and what comes in to name a stream is
// read back; see answer.Escape. Behind the API texts are as the callers sent
// them.

// showSession makes a session fit to be shown.
func showSession(s *answer.Session, socketIDs bool) {
	s.Stream, s.StreamID = answer.Escape(s.Stream), answer.Escape(s.StreamID)
	s.SRT.Filter, s.SRT.Congestion = answer.Printable(s.SRT.Filter), answer.Printable(s.SRT.Congestion)
	if !socketIDs {
		s.CallerSocketID, s.BackendSocketID = 0, 0
	}
}

// showSessions makes sessions fit to be shown to whoever sends the request.
func (h *handler) showSessions(r *http.Request, list []answer.Session) []answer.Session {
	socketIDs := h.showsSocketIDs(r)
	shown := make([]answer.Session, len(list)) // [] and not null, also for none
	copy(shown, list)
	for i := range shown {
		showSession(&shown[i], socketIDs)
	}
	return shown
}

// showEvent makes an event fit to be shown.
func showEvent(e answer.Event) answer.Event {
	e.Stream, e.Cause = answer.Escape(e.Stream), answer.Printable(e.Cause)
	return e
}

// showResolution makes what would become of a stream ID fit to be shown.
func showResolution(d resolution) resolution {
	for _, text := range []*string{&d.StreamID, &d.Told, &d.Vhost, &d.App, &d.Stream, &d.Params, &d.Key} {
		*text = answer.Escape(*text)
	}
	d.Why = answer.Printable(d.Why)
	return d
}
