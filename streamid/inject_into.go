package streamid

import (
	"strings"

	"srtrelay/streamid/rules"
)

// InjectInto is Inject for a stream ID that was read by any dialect.
func InjectInto(r Reading, streamID, key, value string) (string, error) {
	switch r.Dialect {
	case rules.SRS:
		return Inject(streamID, key, value)
	case rules.MediaMTX:
		return injectAction(streamID, key, value)
	}
	// Whether the name's server looks for a query is not known.
	return "", ErrInject
}

// injectAction adds to the query of MediaMTX's own form, which MediaMTX hands
// its authentication. Its #!:: form takes no keys but its own (ErrInject), and a
// password with a colon leaves no place for a query.
func injectAction(s, key, value string) (string, error) {
	if !hasAction(s) {
		return "", ErrInject
	}
	parts := strings.Split(s, ":")
	// A colon would part the value, percent-encoded it is one of a query.
	pair := key + "=" + strings.ReplaceAll(value, ":", "%3A")
	// A query that stands in the path must not forge the key.
	parts[1] = strings.TrimSuffix(stripQuery(parts[1], key), "?")
	switch len(parts) {
	case 2, 4:
		parts = append(parts, pair)
	case 3, mediaMTXParts:
		last := len(parts) - 1
		parts[last] = queryWith(parts[last], key, pair)
	default:
		return "", ErrInject
	}
	return strings.Join(parts, ":"), nil
}

// stripQuery takes a key out of the query of a path.
func stripQuery(path, key string) string {
	before, query, ok := strings.Cut(path, "?")
	if !ok {
		return path
	}
	return before + "?" + strings.Join(queryWithout(query, key), "&")
}
