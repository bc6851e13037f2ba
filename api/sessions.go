package api

import (
	"context"
	"net/http"

	"srtrelay/api/answer"
)

// sessions lists sessions, a slice at a time.
func (h *handler) sessions(w http.ResponseWriter, r *http.Request) {
	q, err := sessionQuery(r.URL.RawQuery)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	var list answer.SessionList
	if !h.ask(w, r, func(ctx context.Context) (err error) {
		list, err = h.rooms.Streams.Sessions(ctx, q)
		return err
	}) {
		return
	}
	list.Sessions = h.showSessions(r, list.Sessions)
	write(w, http.StatusOK, reply{Data: list})
}

// session tells one whole.
func (h *handler) session(w http.ResponseWriter, r *http.Request) {
	var s answer.Session
	var known bool
	id := r.PathValue("id")
	if !h.ask(w, r, func(ctx context.Context) (err error) {
		s, known, err = h.rooms.Streams.Session(ctx, id)
		return err
	}) {
		return
	}
	if !known {
		fail(w, http.StatusNotFound, "no such session: "+answer.Escape(id))
		return
	}
	showSession(&s, h.showsSocketIDs(r))
	write(w, http.StatusOK, reply{Data: s})
}

// kick ends a session: both sides are told with SHUTDOWN.
func (h *handler) kick(w http.ResponseWriter, r *http.Request) {
	var known bool
	id := r.PathValue("id")
	if !h.ask(w, r, func(ctx context.Context) (err error) {
		known, err = h.rooms.Streams.Kick(ctx, id)
		return err
	}) {
		return
	}
	if !known {
		fail(w, http.StatusNotFound, "no such session: "+answer.Escape(id))
		return
	}
	h.log.Info("session closed", "session", id, "from", r.RemoteAddr)
	write(w, http.StatusOK, reply{})
}

// streams lists what the sessions make together.
func (h *handler) streams(w http.ResponseWriter, r *http.Request) {
	q, err := streamQuery(r.URL.RawQuery)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	var list answer.StreamList
	if !h.ask(w, r, func(ctx context.Context) (err error) {
		list, err = h.rooms.Streams.Streams(ctx, q)
		return err
	}) {
		return
	}
	shown := make([]answer.Stream, len(list.Streams)) // [] and not null, also for none
	copy(shown, list.Streams)
	for i := range shown {
		shown[i].Key = answer.Escape(shown[i].Key)
	}
	list.Streams = shown
	write(w, http.StatusOK, reply{Data: list})
}

// stream tells one whole. Its key may be empty: the default route's.
func (h *handler) stream(w http.ResponseWriter, r *http.Request) {
	p := parseQuery(r.URL.RawQuery, "key")
	key := answer.Unescape(p.text("key"))
	if !p.values.Has("key") {
		p.blame("key", "missing; it is to be percent-encoded, and may be empty")
	}
	if p.err != nil {
		fail(w, http.StatusBadRequest, p.err.Error())
		return
	}
	var d answer.StreamDetail
	var known bool
	if !h.ask(w, r, func(ctx context.Context) (err error) {
		d, known, err = h.rooms.Streams.Stream(ctx, key)
		return err
	}) {
		return
	}
	if !known {
		fail(w, http.StatusNotFound, "no such stream: "+answer.Escape(key))
		return
	}
	d.Key, d.SessionList = answer.Escape(d.Key), h.showSessions(r, d.SessionList)
	write(w, http.StatusOK, reply{Data: d})
}
