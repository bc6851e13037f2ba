package streamid

import (
	"errors"
	"strings"

	"srtrelay/streamid/rules"
)

// The reasons for which MediaMTX rejects a stream ID.
var (
	errForm = errors.New("not of MediaMTX's form: read or publish, a colon and a path, then user and password, then a query")
	errItem = errors.New("an item that MediaMTX does not know: it takes u, r, h, s, t and m, each with =")
)

// parsed is a stream ID as the servers behind the relay read it.
type parsed struct {
	StreamID
	// Dialect is the dialect of the stream ID, never rules.DialectAuto.
	Dialect rules.Dialect
	// exact means that names count as a whole; SRS ignores the extension of a
	// stream's name.
	exact bool
}

// parse reads a stream ID by a dialect. rules.DialectAuto reads MediaMTX's own form
// as MediaMTX does, and everything else as SRS does, including #!::, which both
// have. Then one name has the same key in both forms.
func parse(s string, d rules.Dialect) (r parsed, err error) {
	switch {
	case d == rules.DialectMediaMTX:
		r = parsed{Dialect: rules.DialectMediaMTX, exact: true}
		r.StreamID, err = parseMediaMTX(s)
	case d == rules.DialectPlain:
		r = parsed{StreamID: parsePlain(s), Dialect: rules.DialectPlain, exact: true}
	case d != rules.DialectSRS && hasAction(s):
		r = parsed{StreamID: parseAction(s), Dialect: rules.DialectMediaMTX}
	default:
		r.Dialect = rules.DialectSRS
		r.StreamID, err = parseSRS(s)
	}
	return r, err
}

// KeyAmong is the affinity key; see StreamID.KeyAmong.
func (r parsed) KeyAmong(known func(vhost string) bool) string {
	if r.exact {
		return DefaultVhost + "/" + r.App + "/" + r.Stream
	}
	return r.StreamID.KeyAmong(known)
}

const (
	actionPublish = "publish:"
	actionRead    = "read:"
	// Servers built after gosrt's example use it for a player.
	actionSubscribe = "subscribe:"
	// mediaMTXParts are read:path:user:password:query.
	mediaMTXParts = 5
)

// hasAction reports whether s begins as MediaMTX's own form does: an action
// and a path.
func hasAction(s string) bool {
	_, rest, ok := cutAction(s)
	return ok && rest != "" && rest[0] != ':'
}

func cutAction(s string) (publish bool, rest string, ok bool) {
	if rest, ok = strings.CutPrefix(s, actionPublish); ok {
		return true, rest, true
	}
	rest, ok = strings.CutPrefix(s, actionRead)
	return false, rest, ok
}

// parseAction reads MediaMTX's own form, for which hasAction holds: publish:path,
// publish:path:query, publish:path:user:password, publish:path:user:password:query,
// and the same with read. Credentials never get into the path, however many colons
// there are. The path may have a query of its own, as in gosrt's example server.
func parseAction(s string) StreamID {
	publish, rest, _ := cutAction(s)
	parts := strings.SplitN(rest, ":", mediaMTXParts-1)
	path, query, _ := strings.Cut(parts[0], "?")
	switch len(parts) {
	case 2:
		query = joinQuery(query, parts[1])
	case 4:
		if !strings.Contains(parts[3], ":") { // else it may be a piece of the password
			query = joinQuery(query, parts[3])
		}
	}
	id := pathOf(path)
	id.Params, id.Publish = query, publish
	return id
}

func joinQuery(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "&" + b
}

// pathOf splits a path into app and stream. Without a slash it is in SRS's default
// app.
func pathOf(path string) StreamID {
	app, stream, ok := strings.Cut(path, "/")
	if !ok {
		app, stream = defaultApp, path
	}
	return StreamID{App: app, Stream: stream}
}

// parseMediaMTX reads s as MediaMTX does (internal/servers/srt/streamid.go),
// which refuses more than SRS.
func parseMediaMTX(s string) (StreamID, error) {
	if rest, ok := strings.CutPrefix(s, accessPrefix); ok {
		return parseMediaMTXItems(rest)
	}
	if !hasAction(s) || strings.Count(s, ":") >= mediaMTXParts {
		return StreamID{}, errForm
	}
	return parseAction(s), nil
}

// parseMediaMTXItems reads the list after the access control prefix. The last of
// several values counts; without a mode the caller is a player.
func parseMediaMTXItems(list string) (StreamID, error) {
	path, publish := "", false
	for item := range strings.SplitSeq(list, ",") {
		name, value, ok := strings.Cut(item, "=")
		switch {
		case !ok:
			return StreamID{}, errItem
		case name == "r":
			path = value
		case name == "m":
			if value != "publish" && value != "request" {
				return StreamID{}, errMode
			}
			publish = value == "publish"
		case name != "u" && name != "h" && name != "s" && name != "t":
			return StreamID{}, errItem
		}
	}
	if path == "" {
		return StreamID{}, errResource
	}
	id := pathOf(path)
	id.Publish = publish
	return id, nil
}

// parsePlain reads s as the name of a stream, with an optional action before it and
// a query after it. It never fails.
func parsePlain(s string) StreamID {
	publish, rest, ok := cutAction(s)
	if !ok {
		rest = strings.TrimPrefix(s, actionSubscribe)
	}
	name, query, _ := strings.Cut(rest, "?")
	id := pathOf(name)
	id.Params, id.Publish = query, publish
	return id
}
