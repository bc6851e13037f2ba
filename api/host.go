package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// rejectRebinding refuses every request whose Host is not the relay's own,
// whatever its path. A web page that has had its own name bound to the relay's
// address (DNS rebinding) is of the same origin to the browser: it reads any
// answer, wherever the API listens. Its Host is still the page's name.
//
// Whoever brings the token is no such page, whatever it calls the relay: so SRS
// servers may name the relay as they like.
func (h *handler) rejectRebinding(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.isOwnHost(r.Host) && (h.rooms.Token == "" || h.unauthorized(r) != "") {
			h.refuse(w, r, http.StatusForbidden, "host: neither an address nor localhost nor a name given by --api-host")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isOwnHost reports whether a Host header names the relay as an operator would:
// by address, as localhost, or by a name that the operator has given. No Host
// at all is a health check's: a browser always sends one.
func (h *handler) isOwnHost(host string) bool {
	if host == "" {
		return true
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	// SRS writes an IPv6 address and a port without brackets between them. No
	// name has a colon.
	if i := strings.LastIndexByte(host, ':'); err != nil && i >= 0 {
		if _, err := netip.ParseAddr(host[:i]); err == nil {
			return true
		}
	}
	name = strings.TrimSuffix(strings.Trim(name, "[]"), ".")
	if _, err = netip.ParseAddr(name); err == nil || strings.EqualFold(name, "localhost") {
		return true
	}
	return slices.ContainsFunc(h.rooms.Hosts, func(own string) bool { return strings.EqualFold(name, own) })
}
