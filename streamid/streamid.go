// Package streamid knows what a stream ID means to the servers behind the
// relay, in SRS's dialect, MediaMTX's, or as a plain name. Route applies the
// operator's rules to it, adds the caller's address for the backend, and returns
// the affinity key that keeps publishers and players of a stream together. Redact
// replaces secrets for logs.
//
// It must not know sockets, sessions or backends.
package streamid

import (
	"errors"
	"net/netip"
	"sort"
	"strings"
)

// Defaults of SRS for what a stream ID leaves out.
const (
	// DefaultVhost is in the keys of all streams without a vhost of their own.
	DefaultVhost    = "__defaultVhost__"
	defaultApp      = "live"
	defaultStreamID = "#!::r=live/livestream,m=publish"
	accessPrefix    = "#!::"
)

// StreamID is a stream ID as SRS reads it (srs_srt_streamid_to_request). The relay
// must read it exactly as SRS does, or it would send a publisher and its players to
// two servers.
type StreamID struct {
	// Vhost is empty when none was given.
	Vhost  string
	App    string
	Stream string
	// Params is the query string that SRS passes to its hooks.
	Params  string
	Publish bool
}

// The reasons for which SRS rejects a stream ID.
var (
	errMode     = errors.New("mode is neither publish nor request")
	errResource = errors.New("no resource")
)

// parseSRS reads s by SRS's rules. Empty means SRS's default stream.
func parseSRS(s string) (StreamID, error) {
	if s == "" {
		s = defaultStreamID
	}
	var id StreamID
	path := s
	if rest, ok := strings.CutPrefix(s, accessPrefix); ok {
		var err error
		if id, path, err = parseAccess(rest); err != nil {
			return StreamID{}, err
		}
	} else if !strings.Contains(s, "/") {
		path = defaultApp + "/" + s
	}
	// SRS splits the path at its first slash before it removes the parameters,
	// so that a slash in a parameter counts if the resource has none.
	app, stream, ok := strings.Cut(path, "/")
	if !ok {
		app, stream = defaultApp, path
	}
	id.App = app
	id.Stream, id.Params, _ = strings.Cut(stream, "?")
	return id, nil
}

// Key is the affinity key vhost/app/stream: what SRS takes for one source
// (srs_generate_stream_url), so the last dot of the stream and all behind it
// are gone, and a vhost that SRS would fold into its default one is folded.
func (id StreamID) Key() string { return id.KeyAmong(nil) }

// KeyAmong is Key where known tells the vhosts that SRS is configured with: it
// serves the streams of all others in its default vhost. Nil knows every one.
//
// An address or a name without a dot is folded even if it is known: SRS's
// proxy does so, and two streams under one key only share a backend.
func (id StreamID) KeyAmong(known func(vhost string) bool) string {
	vhost := id.Vhost
	_, err := netip.ParseAddr(vhost)
	if err == nil || !strings.Contains(vhost, ".") || known != nil && !known(vhost) {
		vhost = DefaultVhost
	}
	return vhost + "/" + id.App + "/" + withoutExtension(id.Stream)
}

// withoutExtension is a stream's name without its last dot and what follows.
func withoutExtension(stream string) string {
	if dot := strings.LastIndexByte(stream, '.'); dot >= 0 {
		return stream[:dot]
	}
	return stream
}

// proxyKey is the key of the stream with its whole name, as SRS's proxy has it, or
// "" if that is the key itself.
func (id StreamID) proxyKey(key string) string {
	short := withoutExtension(id.Stream)
	if short == id.Stream || !strings.HasSuffix(key, "/"+short) {
		return ""
	}
	return key + id.Stream[len(short):]
}

// parseAccess reads the list after the access control prefix. The path still
// contains the parameters, as in SRS.
func parseAccess(s string) (id StreamID, path string, err error) {
	pairs := splitPairs(strings.ReplaceAll(s, "?", ","))
	keys := make([]string, 0, len(pairs))
	for k := range pairs {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var params []string
	for _, k := range keys {
		v := pairs[k]
		switch k {
		case "h":
			if strings.Count(v, "/") == 1 {
				path = v
				continue
			}
			if host, rest, ok := strings.Cut(v, "/"); ok {
				v, path = host, rest
			}
			id.Vhost = v
			params = append(params, "vhost="+v)
		case "r":
			path = v
		case "m":
			switch {
			case isMode(v, "publish"):
				id.Publish = true
			case !isMode(v, "request"):
				return id, "", errMode
			}
		default:
			params = append(params, k+"="+v)
		}
	}
	if path == "" {
		return id, "", errResource
	}
	if len(params) > 0 {
		path += "?" + strings.Join(params, "&")
	}
	return id, path, nil
}

// isMode ignores case in ASCII, as SRS does: EqualFold alone would equate the long s
// of Unicode with s.
func isMode(v, mode string) bool { return len(v) == len(mode) && strings.EqualFold(v, mode) }

// splitPairs reads the items in pairs: key, value, key, value. An empty item
// therefore shifts all that follow, as in SRS (srs_parse_query_string).
func splitPairs(s string) map[string]string {
	items := splitItems(s)
	pairs := make(map[string]string, len(items)/2+1)
	for i := 0; i < len(items); i += 2 {
		v := ""
		if i+1 < len(items) {
			v = items[i+1]
		}
		pairs[items[i]] = v
	}
	return pairs
}

// splitItems splits at every separator. It drops an empty item at the end.
func splitItems(s string) []string {
	var items []string
	for {
		i := strings.IndexAny(s, "=,&;")
		if i < 0 {
			break
		}
		items = append(items, s[:i])
		if strings.HasPrefix(s[i:], "&&") {
			i++
		}
		s = s[i+1:]
	}
	if s != "" {
		items = append(items, s)
	}
	return items
}
