package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// rejectRebinding refuses every request whose Host header does not name the relay.
// A web page whose own name resolves to the relay's address (DNS rebinding) has the
// relay's origin for the browser and could read every answer, but its Host header
// still holds the page's name.
//
// A request with a token or a login is no such page. So SRS servers may use any name for
// the relay.
func (h *handler) rejectRebinding(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.isOwnHost(r.Host) && !h.hasCredentials(r) {
			h.refuse(w, r, http.StatusForbidden, "host: neither an address nor localhost nor a name given by --api-host")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hasCredentials reports whether a request has a right token or a valid login.
func (h *handler) hasCredentials(r *http.Request) bool {
	a, _ := h.accessOf(r)
	return a != accessNone
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
	return slices.ContainsFunc(h.settings.Load().Hosts, func(own string) bool { return strings.EqualFold(name, own) })
}
