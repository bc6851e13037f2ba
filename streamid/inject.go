package streamid

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// ErrInject says that a parameter cannot be added to a stream ID without
// changing which stream SRS reads from it.
var ErrInject = errors.New("no place for the caller's address")

// Inject adds key=value to the parameters that SRS hands its hooks, and takes
// out what the caller sent under that key. The result names the same stream
// and mode (ErrInject if it cannot); none is SRS's default stream.
//
// An ID without the access control prefix keeps its form: its names may hold
// separators, which the other form has no way to write.
func Inject(streamID, key, value string) (string, error) {
	if streamID == "" {
		streamID = defaultStreamID
	}
	before, err := Parse(streamID)
	if err != nil {
		return "", err
	}
	var out string
	if rest, ok := strings.CutPrefix(streamID, accessPrefix); ok {
		out = accessPrefix + injectPair(rest, key, value)
	} else {
		out = injectQuery(streamID, key, value)
	}
	after, err := Parse(out)
	if err != nil {
		return "", err
	}
	before.Params, after.Params = "", ""
	if after != before {
		// SRS reads a slash in a parameter as the end of the app when the
		// resource has none; the parameter then is in the app.
		return "", ErrInject
	}
	return out, nil
}

// injectPair adds to the list behind the access control prefix.
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
	// SRS takes items two by two: a key that has no value yet must be given
	// one, or it takes ours; and a separator too many shifts everything.
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

// withoutKey writes the pairs whose keys are others.
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

// injectQuery adds to the query of a bare path. SRS parts app and stream
// before it looks for a query.
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

// queryWith is a query with a pair at its end, which is the only one of its
// key.
func queryWith(query, key, pair string) string {
	return strings.Join(append(queryWithout(query, key), pair), "&")
}

// queryWithout parts a query at its ampersands, without the pairs of a key.
func queryWithout(query, key string) []string {
	kept := make([]string, 0, 4)
	for part := range strings.SplitSeq(query, "&") {
		// Some hooks part at semicolons as well.
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
