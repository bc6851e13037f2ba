package api

import (
	"context"
	"net/http"
	"strings"

	"srtrelay/api/answer"
	"srtrelay/streamid"
)

// People write live/x for the stream that SRS, and so the relay, calls
// __defaultVhost__/live/x. Wherever a stream is named, such a name means the stream
// of the default vhost, unless there is one of exactly that name.

// streamNames returns the keys that a name may mean, the exact one first.
func streamNames(name string) []string {
	const prefix = streamid.DefaultVhost + "/"
	if name == "" || strings.HasPrefix(name, prefix) {
		return []string{name}
	}
	return []string{name, prefix + name}
}

// findStream returns the key of the stream with sessions that a name means; false if
// there is none.
func findStream(ctx context.Context, s Streams, name string) (key string, found bool, err error) {
	for _, key := range streamNames(name) {
		list, err := s.Sessions(ctx, answer.SessionQuery{Stream: &key, Limit: 1})
		if err != nil || len(list.Sessions) > 0 {
			return key, err == nil, err
		}
	}
	return name, false, nil
}

// noStream answers that there is no stream of a name.
func noStream(w http.ResponseWriter, name string) {
	writeError(w, http.StatusNotFound, "no such stream: "+answer.Escape(name))
}
