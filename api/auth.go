package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"srtrelay/api/answer"
)

// registerPath takes the heartbeats of SRS. The token may follow as a path segment,
// because SRS drops the query of its heartbeat's URL and cannot send a header of the
// operator's choice (SrsHttpHeartbeat::do_heartbeat).
const registerPath = "/api/v1/srs/register"

// authorize wraps a handler that changes something. It asks for the token, if one
// is set, and refuses calls of other sites' web pages: a page in an operator's
// browser reaches a loopback address as well as the operator does.
func (h *handler) authorize(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// Check permits a cross-site GET, whose answer the page cannot read. But a
		// capture or a profile has a cost, so it is refused here.
		if err := h.crossOrigin.Check(r); err != nil || r.Header.Get("Sec-Fetch-Site") == "cross-site" {
			h.refuse(w, r, http.StatusForbidden, "request of a web page from elsewhere")
			return
		}
		if why := h.unauthorized(r); why != "" {
			w.Header().Set("WWW-Authenticate", "Bearer")
			h.refuse(w, r, http.StatusUnauthorized, why)
			return
		}
		next(w, r)
	}
}

// authorizeSocketIDs wraps a handler whose answer is full of socket IDs, such as a
// capture; see maySeeSocketIDs.
func (h *handler) authorizeSocketIDs(next http.HandlerFunc) http.HandlerFunc {
	return h.authorize(func(w http.ResponseWriter, r *http.Request) {
		if !h.maySeeSocketIDs(r) {
			h.refuse(w, r, http.StatusForbidden, "shows socket IDs, which needs --register-token, or a request from the relay's own host")
			return
		}
		next(w, r)
	})
}

// maySeeSocketIDs reports whether the answer may hold the socket IDs of sessions: if
// the request has the token or, where none is set, comes from the relay's own host.
// Socket IDs and the addresses, which every client sees, are all that somebody needs
// to forge a SHUTDOWN or a data packet.
func (h *handler) maySeeSocketIDs(r *http.Request) bool {
	if h.deps.Token == "" {
		return peerOf(r).Addr().IsLoopback()
	}
	return h.unauthorized(r) == ""
}

// unauthorized returns why a request is refused, "" if it is not. The token comes as
// a bearer header, as the rest of the register call's path, or as ?token=; the first
// of these that is present counts.
func (h *handler) unauthorized(r *http.Request) string {
	if h.deps.Token == "" {
		return ""
	}
	given, _ := strings.CutPrefix(r.URL.Path, registerPath+"/") // decoded: %2F is a slash
	if given == "" || given == r.URL.Path {
		given = r.URL.Query().Get("token")
	}
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "token: Authorization is not of the Bearer scheme"
		}
		given = strings.TrimSpace(token)
	}
	if given == "" {
		return "token: missing"
	}
	// Comparing hashes takes the same time whatever the token and its length.
	want, got := sha256.Sum256([]byte(h.deps.Token)), sha256.Sum256([]byte(given))
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		return "token: wrong"
	}
	return ""
}

// redactedPath returns a request's path as logs and errors may quote it. What follows
// register is a token and is left out, also if the rest of the path is misspelt.
func redactedPath(r *http.Request) string {
	segments := strings.Split(r.URL.Path, "/")
	for i, s := range segments {
		if strings.EqualFold(s, "register") && strings.Join(segments[i+1:], "") != "" {
			return answer.Escape(strings.Join(segments[:i+1], "/") + "/***")
		}
	}
	return answer.Escape(r.URL.Path)
}

// rejectRebinding refuses every request whose Host header does not name the relay.
// A web page whose own name resolves to the relay's address (DNS rebinding) has the
// relay's origin for the browser and could read every answer, but its Host header
// still holds the page's name.
//
// A request with the token is no such page. So SRS servers may use any name for the
// relay.
func (h *handler) rejectRebinding(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.isOwnHost(r.Host) && (h.deps.Token == "" || h.unauthorized(r) != "") {
			h.refuse(w, r, http.StatusForbidden, "host: neither an address nor localhost nor a name given by --api-host")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isOwnHost reports whether a Host header names the relay: by IP address, as
// localhost, or by a name of --api-host. Browsers always send a Host header, so an
// empty one is a health check's.
func (h *handler) isOwnHost(host string) bool {
	if host == "" {
		return true
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	// SRS writes an IPv6 address and a port without brackets. No name has a colon.
	if i := strings.LastIndexByte(host, ':'); err != nil && i >= 0 {
		if _, err := netip.ParseAddr(host[:i]); err == nil {
			return true
		}
	}
	name = strings.TrimSuffix(strings.Trim(name, "[]"), ".")
	if _, err = netip.ParseAddr(name); err == nil || strings.EqualFold(name, "localhost") {
		return true
	}
	return slices.ContainsFunc(h.deps.Hosts, func(own string) bool { return strings.EqualFold(name, own) })
}

// refusalLog logs refused calls, at most one line per refusalEvery. SRS ignores the
// answer to its heartbeat, so the operator finds the reason in the relay's log only.
type refusalLog struct {
	log *slog.Logger

	mu   sync.Mutex
	next time.Time // earliest time of the next line
	held int       // refusals since the last line
}

// refusalEvery is the least time between two lines.
const refusalEvery = 10 * time.Second

func (l *refusalLog) note(now time.Time, r *http.Request, why string) {
	l.mu.Lock()
	held := l.held
	if now.Before(l.next) {
		l.held++
		l.mu.Unlock()
		return
	}
	l.next, l.held = now.Add(refusalEvery), 0
	l.mu.Unlock()
	// Neither the query nor the end of the path: they may hold a token.
	l.log.Warn("call refused", "method", r.Method, "path", redactedPath(r), "from", r.RemoteAddr, "reason", why, "more_before", held)
}

// refuse answers with an error and logs it.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	h.refusals.note(time.Now(), r, why)
	writeError(w, status, why)
}
