package api

import (
	"context"
	"net/http"

	"srtrelay/api/answer"
)

// sessions answers one page of the list of sessions.
func (h *handler) sessions(w http.ResponseWriter, r *http.Request) {
	q, err := sessionQuery(r.URL.RawQuery)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	var list answer.SessionList
	if !h.queryShards(w, r, func(ctx context.Context) (err error) {
		if q.Stream != nil {
			key, _, err := findStream(ctx, h.deps.Streams, *q.Stream)
			if err != nil {
				return err
			}
			q.Stream = &key
		}
		list, err = h.deps.Streams.Sessions(ctx, q)
		return err
	}) {
		return
	}
	list.Sessions = h.sanitizeSessions(r, list.Sessions)
	writeReply(w, http.StatusOK, reply{Data: list})
}

// session answers one session with all its fields.
func (h *handler) session(w http.ResponseWriter, r *http.Request) {
	var s answer.Session
	var known bool
	id := r.PathValue("id")
	if !h.queryShards(w, r, func(ctx context.Context) (err error) {
		s, known, err = h.deps.Streams.Session(ctx, id)
		return err
	}) {
		return
	}
	if !known {
		writeError(w, http.StatusNotFound, "no such session: "+answer.Escape(id))
		return
	}
	sanitizeSession(&s, h.maySeeSocketIDs(r))
	writeReply(w, http.StatusOK, reply{Data: s})
}

// kick ends a session with a SHUTDOWN to both sides.
func (h *handler) kick(w http.ResponseWriter, r *http.Request) {
	var known bool
	id := r.PathValue("id")
	if !h.queryShards(w, r, func(ctx context.Context) (err error) {
		known, err = h.deps.Streams.Kick(ctx, id)
		return err
	}) {
		return
	}
	if !known {
		writeError(w, http.StatusNotFound, "no such session: "+answer.Escape(id))
		return
	}
	h.log.Info("session closed", "session", id, "from", r.RemoteAddr)
	writeReply(w, http.StatusOK, reply{})
}

// streams answers one page of the list of streams.
func (h *handler) streams(w http.ResponseWriter, r *http.Request) {
	q, err := streamQuery(r.URL.RawQuery)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	var list answer.StreamList
	if !h.queryShards(w, r, func(ctx context.Context) (err error) {
		list, err = h.deps.Streams.Streams(ctx, q)
		return err
	}) {
		return
	}
	shown := make([]answer.Stream, len(list.Streams)) // if empty, [] in JSON and not null
	copy(shown, list.Streams)
	for i := range shown {
		shown[i].Key = answer.Escape(shown[i].Key)
	}
	list.Streams = shown
	writeReply(w, http.StatusOK, reply{Data: list})
}

// stream answers one stream with its sessions and history. The empty key is that of
// the default route.
func (h *handler) stream(w http.ResponseWriter, r *http.Request) {
	p := parseQuery(r.URL.RawQuery, "key")
	key := answer.Unescape(p.text("key"))
	if !p.values.Has("key") {
		p.invalid("key", "missing; it is to be percent-encoded, and may be empty")
	}
	if p.err != nil {
		writeError(w, http.StatusBadRequest, p.err.Error())
		return
	}
	var d answer.StreamDetail
	var known bool
	if !h.queryShards(w, r, func(ctx context.Context) (err error) {
		for _, name := range streamNames(key) {
			if d, known, err = h.deps.Streams.Stream(ctx, name); known || err != nil {
				break
			}
		}
		return err
	}) {
		return
	}
	if !known {
		noStream(w, key)
		return
	}
	d.Key, d.SessionList = answer.Escape(d.Key), h.sanitizeSessions(r, d.SessionList)
	writeReply(w, http.StatusOK, reply{Data: d})
}
