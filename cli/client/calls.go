package client

import (
	"net/http"
	"net/url"
	"strconv"

	"srtrelay/api/answer"
)

// VersionInfo is the answer to Versions.
type VersionInfo struct {
	Signature string `json:"signature"`
	Version   string `json:"version"`
	Name      string `json:"name"`
}

// None is the data of an answer without data.
type None struct{}

func get[T any](path string, query url.Values) Call[T] {
	return Call[T]{http.MethodGet, path, query}
}

// Versions asks for the version of the relay.
func Versions() Call[VersionInfo] { return get[VersionInfo]("/api/v1/versions", nil) }

// Shards asks for the counters of all shards.
func Shards() Call[answer.ShardList] { return get[answer.ShardList]("/api/v1/shards", nil) }

// Sources asks for the heaviest sources.
func Sources(q answer.SourceQuery) Call[answer.SourceList] {
	return get[answer.SourceList]("/api/v1/sources", query{}.
		text("level", q.Level).text("sort", q.Sort).number("limit", q.Limit).values())
}

// Backends asks for all backends.
func Backends() Call[answer.BackendList] { return get[answer.BackendList]("/api/v1/backends", nil) }

// Streams asks for one page of streams.
func Streams(q answer.StreamQuery) Call[answer.StreamList] {
	return get[answer.StreamList]("/api/v1/streams", query{}.
		text("backend", q.Backend).text("q", q.Match).text("sort", q.Sort).
		number("limit", q.Limit).number("offset", q.Offset).number("history", q.History).values())
}

// Stream asks for one stream with its sessions.
func Stream(key string) Call[answer.StreamDetail] {
	return get[answer.StreamDetail]("/api/v1/streams/one", url.Values{"key": {key}})
}

// Sessions asks for one page of sessions.
func Sessions(q answer.SessionQuery) Call[answer.SessionList] {
	ask := query{}.text("backend", q.Backend).text("role", q.Role).text("state", q.State).
		number("limit", q.Limit).text("cursor", q.Cursor)
	if q.Stream != nil {
		ask["stream"] = []string{*q.Stream} // "" is the default route
	}
	switch {
	case !q.Caller.IsValid():
	case q.Caller.Port() == 0:
		ask.text("caller", q.Caller.Addr().String())
	default:
		ask.text("caller", q.Caller.String())
	}
	return get[answer.SessionList]("/api/v1/sessions", ask.values())
}

// Session asks for one session in full.
func Session(id string) Call[answer.Session] {
	return get[answer.Session]("/api/v1/sessions/"+url.PathEscape(id), nil)
}

// CloseSession ends a session with a SHUTDOWN to both sides.
func CloseSession(id string) Call[None] {
	return Call[None]{http.MethodDelete, "/api/v1/sessions/" + url.PathEscape(id), nil}
}

// Drain takes a backend out of the choice for new streams, or back in.
func Drain(id string, draining bool) Call[answer.Drained] {
	verb := "/drain"
	if !draining {
		verb = "/undrain"
	}
	return Call[answer.Drained]{http.MethodPost, "/api/v1/backends/" + url.PathEscape(id) + verb, nil}
}

// Weigh sets a backend's share of new streams, 0 for the configured one.
func Weigh(id string, weight int) Call[answer.Weighed] {
	path := "/api/v1/backends/" + url.PathEscape(id) + "/weight"
	return Call[answer.Weighed]{http.MethodPost, path, url.Values{"weight": {strconv.Itoa(weight)}}}
}

// Relays asks for all relays that share the state.
func Relays() Call[answer.RelayList] { return get[answer.RelayList]("/api/v1/cluster", nil) }

// ClusterStreams asks for one page of the streams of all relays.
func ClusterStreams(q answer.ClusterStreamQuery) Call[answer.ClusterStreamList] {
	ask := query{}.text("q", q.Match).text("relay", q.Relay).text("backend", q.Backend).text("sort", q.Sort).
		number("limit", q.Limit).number("offset", q.Offset)
	if q.Key != nil {
		ask["key"] = []string{*q.Key} // "" is the default route
	}
	return get[answer.ClusterStreamList]("/api/v1/cluster/streams", ask.values())
}

// Forget removes a backend that has registered.
func Forget(id string) Call[None] {
	return Call[None]{http.MethodDelete, "/api/v1/backends/" + url.PathEscape(id), nil}
}

// Reload has the configuration file read again.
func Reload() Call[answer.Reload] {
	return Call[answer.Reload]{http.MethodPost, "/api/v1/reload", nil}
}

// query collects the parameters that are set.
type query url.Values

func (q query) text(name, value string) query {
	if value != "" {
		q[name] = []string{value}
	}
	return q
}

func (q query) number(name string, value int) query {
	if value != 0 {
		q[name] = []string{strconv.Itoa(value)}
	}
	return q
}

func (q query) values() url.Values { return url.Values(q) }
