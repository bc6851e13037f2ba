package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"srtrelay/api/answer"
)

// registerPath takes SRS's heartbeats. The token may follow it as a path
// segment: SRS posts the path of its heartbeat's URL and drops the query
// (SrsHttpHeartbeat::do_heartbeat), and sends no header of the operator's.
const registerPath = "/api/v1/srs/register"

// guarded lets a call through that may change something: with the token, where
// one is set, and not on behalf of a web page. A page that an operator's browser
// has open can reach a loopback address as well as the operator can.
func (h *handler) guarded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// Check lets a GET pass that a page elsewhere makes: it could not read
		// the answer, but a capture or a profile costs something all the same.
		if err := h.pages.Check(r); err != nil || r.Header.Get("Sec-Fetch-Site") == "cross-site" {
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

// trusted lets a call through whose answer holds socket IDs throughout; see
// showsSocketIDs.
func (h *handler) trusted(next http.HandlerFunc) http.HandlerFunc {
	return h.guarded(func(w http.ResponseWriter, r *http.Request) {
		if !h.showsSocketIDs(r) {
			h.refuse(w, r, http.StatusForbidden, "shows socket IDs, which needs --register-token, or a request from the relay's own host")
			return
		}
		next(w, r)
	})
}

// showsSocketIDs reports whether an answer may hold the socket IDs of sessions.
// With the addresses, which everybody is shown, they are all that a forged
// SHUTDOWN or data packet needs. They are for whoever brings the token or, where
// none is set, asks from the relay's own host.
func (h *handler) showsSocketIDs(r *http.Request) bool {
	if h.rooms.Token == "" {
		return peerOf(r).Addr().IsLoopback()
	}
	return h.unauthorized(r) == ""
}

// unauthorized says why a request may not pass, "" if it may. The token comes
// as a bearer header, as the rest of the register call's path, or as ?token=;
// the first that is there counts.
func (h *handler) unauthorized(r *http.Request) string {
	if h.rooms.Token == "" {
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
	// Sums have one length: the time says nothing of the token, not even how
	// long it is.
	want, got := sha256.Sum256([]byte(h.rooms.Token)), sha256.Sum256([]byte(given))
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		return "token: wrong"
	}
	return ""
}

// shownPath is a request's path as logs and errors may quote it: without what
// follows register, which is a token, also where the path is misspelt.
func shownPath(r *http.Request) string {
	segments := strings.Split(r.URL.Path, "/")
	for i, s := range segments {
		if strings.EqualFold(s, "register") && strings.Join(segments[i+1:], "") != "" {
			return answer.Escape(strings.Join(segments[:i+1], "/") + "/***")
		}
	}
	return answer.Escape(r.URL.Path)
}
