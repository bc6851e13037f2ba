package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"srtrelay/api/answer"
)

// registerPath takes the heartbeats of SRS. The token may follow as a path segment,
// because SRS drops the query of its heartbeat's URL and cannot send a header of the
// operator's choice (SrsHttpHeartbeat::do_heartbeat).
const registerPath = "/api/v1/srs/register"

// authorize wraps a handler that changes something. It asks for the token, if one
// is set, and refuses calls of other web pages: a page in an operator's browser
// reaches a loopback address as well as the operator does.
func (h *handler) authorize(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// Check permits another page's GET, whose answer that page cannot read. But
		// a capture or a profile has a cost, so it is refused here. same-site is
		// also a page on another port of this host, with which it shares cookies.
		site := r.Header.Get("Sec-Fetch-Site")
		if err := h.crossOrigin.Check(r); err != nil || site == "cross-site" || site == "same-site" {
			h.refuseElsewhere(w, r)
			return
		}
		if h.settings.Load().Token != "" {
			switch a, why := h.accessOf(r); a {
			case accessNone:
				h.unauthorized(w, r, why)
				return
			case accessRead:
				h.refuse(w, r, http.StatusForbidden, "token: may only read, which takes --register-token")
				return
			}
		}
		next(w, r)
	}
}

// change wraps a handler that changes something. While another process takes over, it waits
// until it is known which one goes on: a change that was confirmed must not be lost.
func (h *handler) change(next http.HandlerFunc) http.HandlerFunc {
	return h.authorize(func(w http.ResponseWriter, r *http.Request) {
		if admit := h.deps.Admit; admit != nil {
			if err := admit(r.Context()); err != nil {
				unavailable(w, err.Error()+": repeat the call")
				return
			}
		}
		next(w, r)
	})
}

// authorizeSocketIDs wraps a handler whose answer is full of socket IDs, such as a
// capture; see maySeeSocketIDs.
func (h *handler) authorizeSocketIDs(next http.HandlerFunc) http.HandlerFunc {
	return h.authorize(func(w http.ResponseWriter, r *http.Request) {
		if !h.maySeeSocketIDs(r) {
			h.refuse(w, r, http.StatusForbidden, "shows socket IDs, which needs --register-token, or a request from loopback")
			return
		}
		next(w, r)
	})
}

// maySeeSocketIDs reports whether the answer may hold the socket IDs of sessions: if the
// request has the token or, where none is set, comes from loopback. Socket IDs and the
// addresses, which every client sees, are all that somebody needs to forge a SHUTDOWN or a
// data packet.
func (h *handler) maySeeSocketIDs(r *http.Request) bool {
	if h.settings.Load().Token == "" {
		return peerOf(r).Addr().IsLoopback()
	}
	a, _ := h.accessOf(r)
	return a == accessFull
}

// authorizeRead wraps a handler that tells who streams what. It asks for one of both
// tokens if a read token is set.
func (h *handler) authorizeRead(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if h.settings.Load().ReadToken != "" {
			if a, why := h.accessOf(r); a == accessNone {
				h.unauthorized(w, r, why)
				return
			}
			h.renewLogin(w, r)
		}
		next(w, r)
	}
}

func (h *handler) refuseElsewhere(w http.ResponseWriter, r *http.Request) {
	h.refuse(w, r, http.StatusForbidden, "request of a web page from elsewhere")
}

func (h *handler) unauthorized(w http.ResponseWriter, r *http.Request, why string) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	h.refuse(w, r, http.StatusUnauthorized, why)
}

// access is what a client may do. Where a token is not set, no access is needed.
type access byte

const (
	accessNone access = iota
	accessRead        // lists, metrics and the page
	accessFull        // everything
)

func (a access) String() string { return [...]string{"none", "read", "full"}[a] }

// accessOf returns what a request may do by its token or, without one, by its login. If
// that is nothing, it returns why.
func (h *handler) accessOf(r *http.Request) (access, string) {
	given, why := tokenOf(r)
	switch {
	case why != "":
		return accessNone, why
	case given == "":
		if a, _ := h.deps.Logins.present().find(r, time.Now()); a != accessNone {
			return a, ""
		}
		return accessNone, "token: missing"
	}
	if a := h.accessByToken(given); a != accessNone {
		return a, ""
	}
	return accessNone, "token: wrong"
}

// tokenOf returns the token of a request, or why what it has is none. The token comes as
// a bearer header, as the rest of the register call's path, or as ?token=; the first of
// these that is present counts.
func tokenOf(r *http.Request) (given, why string) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "", "token: Authorization is not of the Bearer scheme"
		}
		return strings.TrimSpace(token), ""
	}
	given, found := strings.CutPrefix(r.URL.Path, registerPath+"/") // decoded: %2F is a slash
	if !found || given == "" {
		given = r.URL.Query().Get("token")
	}
	return given, ""
}

// accessByToken compares hashes, which takes the same time whatever the token and its
// length.
func (h *handler) accessByToken(given string) access {
	got := sha256.Sum256([]byte(given))
	is := func(token string) bool {
		want := sha256.Sum256([]byte(token))
		return token != "" && subtle.ConstantTimeCompare(want[:], got[:]) == 1
	}
	s := h.settings.Load()
	full, read := is(s.Token), is(s.ReadToken)
	switch {
	case full:
		return accessFull
	case read:
		return accessRead
	}
	return accessNone
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
