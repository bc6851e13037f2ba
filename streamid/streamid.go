// Package streamid knows what a stream ID means to the servers behind the
// relay: SRS's dialect, MediaMTX's and plain names (Read), the affinity key that
// keeps publishers and players of a stream together, and the operator's rules
// about it (Route). It puts an address into a stream ID for the backend
// (InjectInto), and hides secrets from whoever looks at a log (Redact).
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
	DefaultVhost    = "__defaultVhost__"
	defaultApp      = "live"
	defaultStreamID = "#!::r=live/livestream,m=publish"
	accessPrefix    = "#!::"
)

// StreamID is a stream ID as SRS reads it (srs_srt_streamid_to_request): the
// relay must not send a publisher and its players to two servers because it
// reads more strictly, or more sensibly, than they do.
type StreamID struct {
	// Vhost is empty when none was given.
	Vhost  string
	App    string
	Stream string
	// Params is the query string that SRS hands to its hooks.
	Params  string
	Publish bool
}

// Why SRS closes a connection because of its stream ID.
var (
	ErrMode     = errors.New("mode is neither publish nor request")
	ErrResource = errors.New("no resource")
)

// Parse reads s by SRS's rules. Empty means SRS's default stream.
func Parse(s string) (StreamID, error) {
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
	// SRS splits the path at its first slash before it cuts the parameters
	// off, so a slash in a parameter counts when the resource has none.
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
	return vhost + "/" + id.App + "/" + undotted(id.Stream)
}

// undotted is a stream's name without its last dot and what follows.
func undotted(stream string) string {
	if dot := strings.LastIndexByte(stream, '.'); dot >= 0 {
		return stream[:dot]
	}
	return stream
}

// spelled is a key of the stream with its whole name, as SRS's proxy has it; ""
// where it is the key itself.
func (id StreamID) spelled(key string) string {
	short := undotted(id.Stream)
	if short == id.Stream || !strings.HasSuffix(key, "/"+short) {
		return ""
	}
	return key + id.Stream[len(short):]
}

// parseAccess reads what follows the access control prefix. The path still
// carries the parameters, as in SRS.
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
				return id, "", ErrMode
			}
		default:
			params = append(params, k+"="+v)
		}
	}
	if path == "" {
		return id, "", ErrResource
	}
	if len(params) > 0 {
		path += "?" + strings.Join(params, "&")
	}
	return id, path, nil
}

// isMode compares without case as SRS does, in ASCII: EqualFold alone takes
// the long s of Unicode for an s.
func isMode(v, mode string) bool { return len(v) == len(mode) && strings.EqualFold(v, mode) }

// splitPairs takes the items two by two: key, value, key, value. An empty item
// therefore shifts all that follow, and SRS's players live with it
// (srs_parse_query_string).
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

// splitItems splits at every separator alike. An empty item at the very end is
// none.
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
