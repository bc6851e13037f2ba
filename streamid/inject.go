package streamid

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"srtrelay/streamid/rules"
)

// errInject means that a parameter cannot be added to a stream ID without
// changing which stream SRS reads from it.
var errInject = errors.New("no place for the caller's address")

// injectSRS adds key=value to the parameters that SRS passes to its hooks, and
// removes what the caller sent under that key. The result names the same stream
// and mode, or the error is errInject. An empty stream ID is SRS's default stream.
//
// An ID without the access control prefix keeps its form: its names may contain
// separators, which the other form cannot express.
func injectSRS(streamID, key, value string) (string, error) {
	if streamID == "" {
		streamID = defaultStreamID
	}
	before, err := parseSRS(streamID)
	if err != nil {
		return "", err
	}
	var out string
	if rest, ok := strings.CutPrefix(streamID, accessPrefix); ok {
		out = accessPrefix + injectPair(rest, key, value)
	} else {
		out = injectQuery(streamID, key, value)
	}
	after, err := parseSRS(out)
	if err != nil {
		return "", err
	}
	before.Params, after.Params = "", ""
	if after != before {
		// SRS reads a slash in a parameter as the end of the app when the
		// resource has none; the parameter then is in the app.
		return "", errInject
	}
	return out, nil
}

// injectPair adds to the list after the access control prefix.
func injectPair(list, key, value string) string {
	items := splitItems(strings.ReplaceAll(list, "?", ","))
	forged := false
	for i := 0; i < len(items); i += 2 {
		forged = forged || sameKey(items[i], key)
	}
	if forged {
		list = withoutKey(items, key)
		items = splitItems(list)
	}
	// SRS reads items in pairs: a key without a value must get one, or it would
	// get ours, and one separator too many shifts all that follow.
	open := list != "" && !strings.ContainsRune("=,&;?", rune(list[len(list)-1]))
	odd := len(items)%2 == 1
	if odd && open {
		list += "="
	}
	if odd || open {
		list += ","
	}
	return list + key + "=" + value
}

// withoutKey writes the pairs with other keys.
func withoutKey(items []string, key string) string {
	var b strings.Builder
	for i := 0; i < len(items); i += 2 {
		if sameKey(items[i], key) {
			continue
		}
		value := ""
		if i+1 < len(items) {
			value = items[i+1]
		}
		b.WriteString(items[i] + "=" + value + ",")
	}
	return b.String()
}

// injectQuery adds to the query of a bare path. SRS splits app and stream before it
// looks for a query.
func injectQuery(path, key, value string) string {
	app, stream, ok := strings.Cut(path, "/")
	if !ok {
		app, stream = "", path
	} else {
		app += "/"
	}
	stream, query, _ := strings.Cut(stream, "?")
	return app + stream + "?" + queryWith(query, key, key+"="+value)
}

// queryWith returns a query that ends with a pair, the only one of its key.
func queryWith(query, key, pair string) string {
	return strings.Join(append(queryWithout(query, key), pair), "&")
}

// queryWithout splits a query at its ampersands and removes the pairs of a key.
func queryWithout(query, key string) []string {
	kept := make([]string, 0, 4)
	for part := range strings.SplitSeq(query, "&") {
		// Some hooks split at semicolons as well.
		pairs := slices.DeleteFunc(strings.Split(part, ";"), func(pair string) bool {
			name, _, _ := strings.Cut(pair, "=")
			return sameKey(name, key)
		})
		if len(pairs) > 0 && query != "" {
			kept = append(kept, strings.Join(pairs, ";"))
		}
	}
	return kept
}

// sameKey reports whether a hook may take sent for key: it may decode it, fold
// its case or trim it, or read it as PHP does, which stops at a NUL or a
// bracket and turns dots and spaces into underscores.
func sameKey(sent, key string) bool {
	if s, err := url.QueryUnescape(sent); err == nil {
		sent = s
	}
	sent = strings.TrimFunc(sent, func(r rune) bool { return r <= ' ' || r == '?' })
	if end := strings.IndexAny(sent, "[\x00"); end >= 0 {
		sent = sent[:end]
	}
	return strings.EqualFold(strings.NewReplacer(".", "_", " ", "_").Replace(sent), key)
}

// inject adds key=value to a stream ID of any dialect.
func inject(r parsed, streamID, key, value string) (string, error) {
	switch r.Dialect {
	case rules.DialectSRS:
		return injectSRS(streamID, key, value)
	case rules.DialectMediaMTX:
		return injectAction(streamID, key, value)
	}
	// The relay does not know whether the server looks for a query.
	return "", errInject
}

// injectAction adds to the query of MediaMTX's own form, which MediaMTX passes to
// its authentication. Its #!:: form accepts no other keys, and a password with a
// colon leaves no room for a query: both give errInject.
func injectAction(s, key, value string) (string, error) {
	if !hasAction(s) {
		return "", errInject
	}
	parts := strings.Split(s, ":")
	// A colon would split the value unless it is percent-encoded.
	pair := key + "=" + strings.ReplaceAll(value, ":", "%3A")
	// A query within the path must not forge the key.
	parts[1] = strings.TrimSuffix(stripQuery(parts[1], key), "?")
	switch len(parts) {
	case 2, 4:
		parts = append(parts, pair)
	case 3, mediaMTXParts:
		last := len(parts) - 1
		parts[last] = queryWith(parts[last], key, pair)
	default:
		return "", errInject
	}
	return strings.Join(parts, ":"), nil
}

// stripQuery removes a key from the query of a path.
func stripQuery(path, key string) string {
	before, query, ok := strings.Cut(path, "?")
	if !ok {
		return path
	}
	return before + "?" + strings.Join(queryWithout(query, key), "&")
}
