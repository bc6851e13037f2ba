package streamid

import (
	"errors"
	"strings"

	"srtrelay/streamid/rules"
)

// Why MediaMTX closes a connection because of its stream ID.
var (
	ErrForm = errors.New("not of MediaMTX's form: read or publish, a colon and a path, then user and password, then a query")
	ErrItem = errors.New("an item that MediaMTX does not know: it takes u, r, h, s, t and m, each with =")
)

// Reading is a stream ID as the servers behind the relay read it.
type Reading struct {
	StreamID
	// Dialect is the one that it was read by, never rules.Auto.
	Dialect rules.Dialect
	// exact says that names count to their last letter, which those that SRS
	// serves do not.
	exact bool
}

// Read reads a stream ID by a dialect. Auto takes MediaMTX's own form for
// MediaMTX's, and everything else for SRS's: also #!::, which both have. One
// name in either form then has one key.
func Read(s string, d rules.Dialect) (r Reading, err error) {
	switch {
	case d == rules.MediaMTX:
		r = Reading{Dialect: rules.MediaMTX, exact: true}
		r.StreamID, err = parseMediaMTX(s)
	case d == rules.Plain:
		r = Reading{StreamID: parsePlain(s), Dialect: rules.Plain, exact: true}
	case d != rules.SRS && hasAction(s):
		r = Reading{StreamID: parseAction(s), Dialect: rules.MediaMTX}
	default:
		r.Dialect = rules.SRS
		r.StreamID, err = Parse(s)
	}
	return r, err
}

// KeyAmong is the affinity key; see StreamID.KeyAmong.
func (r Reading) KeyAmong(known func(vhost string) bool) string {
	if r.exact {
		return DefaultVhost + "/" + r.App + "/" + r.Stream
	}
	return r.StreamID.KeyAmong(known)
}

const (
	actionPublish = "publish:"
	actionRead    = "read:"
	// A server that is made after gosrt's example says so of a player.
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
// and the same with read. Credentials never come into the path, however many
// colons there are. The path may have a query of its own, as gosrt's example
// server takes it.
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

// pathOf is a path in the form of a key: without a slash it is in the app that
// SRS would put it in.
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
		return StreamID{}, ErrForm
	}
	return parseAction(s), nil
}

// parseMediaMTXItems reads what follows the access control prefix. The last of
// several values counts, a player is who does not say.
func parseMediaMTXItems(list string) (StreamID, error) {
	path, publish := "", false
	for item := range strings.SplitSeq(list, ",") {
		name, value, ok := strings.Cut(item, "=")
		switch {
		case !ok:
			return StreamID{}, ErrItem
		case name == "r":
			path = value
		case name == "m":
			if value != "publish" && value != "request" {
				return StreamID{}, ErrMode
			}
			publish = value == "publish"
		case name != "u" && name != "h" && name != "s" && name != "t":
			return StreamID{}, ErrItem
		}
	}
	if path == "" {
		return StreamID{}, ErrResource
	}
	id := pathOf(path)
	id.Publish = publish
	return id, nil
}

// parsePlain takes s for the name of a stream. An action may stand before it,
// a query behind it. Nothing is refused.
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
