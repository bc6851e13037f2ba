package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

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
		if h.isForeign(w, r) {
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

// private lets a call through that tells who streams what, which a web page
// must not learn by rebinding its name.
func (h *handler) private(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !h.isForeign(w, r) {
			next(w, r)
		}
	}
}

// isForeign refuses a request that names this host as no operator would, where
// nothing but loopback protects it.
func (h *handler) isForeign(w http.ResponseWriter, r *http.Request) bool {
	foreign := h.rooms.LocalOnly && !isLocalName(r.Host)
	if foreign {
		h.refuse(w, r, http.StatusForbidden, "host: neither an address nor localhost")
	}
	return foreign
}

// isLocalName reports whether a Host header names this host as an operator on
// it would. A page's own name may have been bound to a loopback address (DNS
// rebinding), and then its requests do not look foreign to the browser.
func isLocalName(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.Trim(name, "[]")
	_, err = netip.ParseAddr(name)
	return err == nil || strings.EqualFold(name, "localhost")
}

// unauthorized says why a request may not pass, "" if it may. The token comes
// as a bearer header, or as ?token= from SRS, whose heartbeat has a URL and no
// headers of the operator's.
func (h *handler) unauthorized(r *http.Request) string {
	if h.rooms.Token == "" {
		return ""
	}
	given := r.URL.Query().Get("token")
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
