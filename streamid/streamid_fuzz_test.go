package streamid

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// restated is the rules of SRS once more, slowly and to the letter, so that
// Parse is compared with something that shares no line with it.
func restated(s string) (id StreamID, accepted bool) {
	if len(s) == 0 {
		return restated("#!::r=live/livestream,m=publish")
	}
	subpath := ""
	if len(s) >= 4 && s[:4] == "#!::" {
		if subpath = restatedInfo(s[4:], &id); subpath == "" {
			return StreamID{}, false
		}
	} else if strings.IndexByte(s, '/') < 0 {
		subpath = "live/" + s
	} else {
		subpath = s
	}
	rest := ""
	if pos := strings.IndexByte(subpath, '/'); pos < 0 {
		id.App, rest = "live", subpath
	} else {
		id.App, rest = subpath[:pos], subpath[pos+1:]
	}
	if pos := strings.IndexByte(rest, '?'); pos < 0 {
		id.Stream = rest
	} else {
		id.Stream, id.Params = rest[:pos], rest[pos+1:]
	}
	return id, true
}

// restatedInfo walks the pairs in the order of their keys. An empty path means
// that SRS rejects.
func restatedInfo(s string, id *StreamID) string {
	keys, values := restatedQuery(strings.Join(strings.Split(s, "?"), ","))
	path, params := "", ""
	for i, k := range keys {
		v := values[i]
		slashes := strings.Split(v, "/")
		switch {
		case k == "h" && len(slashes) == 2:
			path = v
		case k == "h":
			id.Vhost = slashes[0]
			params += "vhost=" + slashes[0] + "&"
			if len(slashes) > 2 {
				path = strings.Join(slashes[1:], "/")
			}
		case k == "r":
			path = v
		case k == "m" && asciiLower(v) == "publish":
			id.Publish = true
		case k == "m" && asciiLower(v) == "request":
			id.Publish = false
		case k == "m":
			return ""
		default:
			params += k + "=" + v + "&"
		}
	}
	if path != "" && params != "" {
		path += "?" + params[:len(params)-1]
	}
	return path
}

// restatedQuery finds the first of five separators again and again, then
// pairs the items up; the last value of a key stays. Keys come sorted.
func restatedQuery(s string) (keys, values []string) {
	separators := []string{"=", ",", "&&", "&", ";"}
	var items []string
	for {
		first, match := -1, ""
		for _, sep := range separators {
			if pos := strings.Index(s, sep); pos >= 0 && (first < 0 || pos < first) {
				first, match = pos, sep
			}
		}
		if first < 0 {
			break
		}
		items = append(items, s[:first])
		s = s[first+len(match):]
	}
	if s != "" {
		items = append(items, s)
	}
	if len(items)%2 == 1 {
		items = append(items, "")
	}
	for i := 0; i < len(items); i += 2 {
		at, found := slices.BinarySearch(keys, items[i])
		if !found {
			keys = slices.Insert(keys, at, items[i])
			values = slices.Insert(values, at, "")
		}
		values[at] = items[i+1]
	}
	return keys, values
}

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func checkStreamID(t *testing.T, s string) {
	t.Helper()
	got, err := parseSRS(s)
	want, accepted := restated(s)
	if (err == nil) != accepted || accepted && got != want {
		t.Fatalf("%q:\n got %+v, %v\nwant %+v, %v", s, got, err, want, accepted)
	}
	if err == nil {
		key := got.Key()
		if strings.Count(key, "/") < 2 {
			t.Fatalf("%q has the key %q", s, key)
		}
		if vhost, _, _ := strings.Cut(key, "/"); vhost == "" {
			t.Fatalf("%q: the key %q has no vhost", s, key)
		}
	}
}

// Texts of the pieces that matter, long before a fuzzer finds them.
func TestStreamIDLikeSRS(t *testing.T) {
	pieces := []string{
		"#!::", "r", "h", "m", "u", "=", "=", ",", ",", "&", "&&", ";", "?", "/", "/", ".", "live", "x",
		"v.com", "publish", "REQUEST", "Publish", "", "é", "\x00", " ", "%2F", "+",
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 50000 {
		var b strings.Builder
		if random.IntN(4) > 0 {
			b.WriteString("#!::")
		}
		for range random.IntN(14) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		checkStreamID(t, b.String())
	}
}

func FuzzStreamID(f *testing.F) {
	for _, s := range []string{
		"", "livestream", "live/livestream?secret=abc", "#!::h=v.com/live/x,m=publish",
		"#!::r=live/x,,m=publish", "#!::r=x&&k=a/b;m=REQUEST", "#!::m=publiſh,r=a", "#!::h=a/b/c/d?e&f",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkStreamID(t, s) })
}
