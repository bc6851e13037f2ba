package api

import (
	"context"
	"time"
)

// Settings are the part of Deps that Server.Set replaces while the server runs.
type Settings struct {
	// Name is the relay's name for operators, "" for none.
	Name string
	// TTL is how long a heartbeat is valid.
	TTL time.Duration
	// Token must come with every call that changes something; "" for no token.
	Token string
	// ReadToken must come with every call that tells who streams what, unless Token
	// does; "" for none.
	ReadToken string
	// Hosts are the names that a Host header may hold beside IP addresses and
	// localhost.
	Hosts []string
}

// inForce are Settings, and what ends with their tokens.
type inForce struct {
	Settings
	// revoked ends when another token is set: feeds and captures were opened with the
	// old ones.
	revoked context.Context
	revoke  context.CancelFunc
}

// set puts settings in force. Other tokens end all logins, feeds and captures.
func (h *handler) set(s Settings) {
	old := h.settings.Load()
	next := &inForce{Settings: s}
	if old != nil && old.Token == s.Token && old.ReadToken == s.ReadToken {
		next.revoked, next.revoke = old.revoked, old.revoke
		h.settings.Store(next)
		return
	}
	next.revoked, next.revoke = context.WithCancel(h.closing)
	h.settings.Store(next) // before the key: see Logins.present
	h.deps.Logins.setTokens(s.Token, s.ReadToken)
	if old != nil {
		old.revoke()
	}
}

// Set puts other settings in force. Calls that are being answered may end with the old
// ones, except feeds and captures, which end when a token changes.
func (s *Server) Set(settings Settings) { s.handler.set(settings) }
