package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"srtrelay/streamid"

	"srtrelay/api/answer"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/streamid/rules"
	"srtrelay/wire"
)

// resolution says what would happen to a caller with a stream ID.
type resolution struct {
	StreamID string `json:"streamid"`
	// From says where the stream ID in force comes from. Rewritten is the stream ID
	// that the backend would get, if it is another.
	From      rules.Origin `json:"from"`
	Rewritten string       `json:"told,omitempty"`
	Caller    string       `json:"caller"`

	// Dialect is how the stream ID is read.
	Dialect rules.Dialect `json:"dialect,omitempty"`

	Vhost  string `json:"vhost,omitempty"`
	App    string `json:"app,omitempty"`
	Stream string `json:"stream,omitempty"`
	Params string `json:"params,omitempty"`
	Mode   string `json:"mode,omitempty"`
	Key    string `json:"key,omitempty"`

	Backend *resolvedBackend `json:"backend,omitempty"`
	Why     string           `json:"why"`
	// Reject is the SRT rejection code for the caller.
	Reject handshake.Code `json:"reject,omitempty"`
}

type resolvedBackend struct {
	ID      backend.ID `json:"id"`
	Address string     `json:"address"`
}

// resolve answers where a caller with a stream ID would be sent, and why. It changes
// nothing.
func (h *handler) resolve(w http.ResponseWriter, r *http.Request) {
	in, err := resolveRequest(r)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	routed, err := streamid.Route(h.deps.Rules.Set(), in)
	d := describe(in, routed)
	if err != nil {
		writeRejection(w, d, streamid.Refusal(err), "streamid: "+err.Error())
		return
	}
	target, why, err := h.deps.Explainer.Explain(backend.Query{
		Key: routed.Key, ProxyKey: routed.ProxyKey, StreamID: in.StreamID, Publish: routed.Stream.Publish, Caller: in.Caller,
	})
	switch {
	case errors.Is(err, backend.ErrNoStream):
		writeRejection(w, d, handshake.CodeNotFound, err.Error())
	case err != nil:
		writeRejection(w, d, handshake.CodeDown, err.Error())
	default:
		d.Backend, d.Why = &resolvedBackend{target.ID, target.Addr.String()}, why
		writeReply(w, http.StatusOK, reply{Data: sanitizeResolution(d)})
	}
}

// resolveRequest reads the query: streamid as a caller would send it, and for the rules
// caller (by default the client's address) and port (by default none).
func resolveRequest(r *http.Request) (in rules.Request, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	switch {
	case err != nil:
		return in, fmt.Errorf("query: %w", err)
	case !query.Has("streamid"):
		return in, errors.New("streamid: missing; it is to be percent-encoded, and may be empty")
	}
	in.StreamID, in.Caller = answer.Unescape(query.Get("streamid")), peerOf(r)
	if len(in.StreamID) > wire.MaxStreamID {
		return in, fmt.Errorf("streamid: longer than %d bytes", wire.MaxStreamID)
	}
	if text := query.Get("caller"); text != "" {
		if in.Caller, err = parseCaller(text); err != nil {
			return in, err
		}
	}
	if text := query.Get("port"); text != "" {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return in, fmt.Errorf("port: %q is not within 1 to 65535", text)
		}
		in.ListenPort = uint16(port)
	}
	return in, nil
}

func parseCaller(text string) (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(ip.Unmap(), 0), nil
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return at, fmt.Errorf("caller: %q is neither an IP address nor one with a port", text)
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
}

func describe(in rules.Request, routed streamid.Routed) resolution {
	d := resolution{
		StreamID: in.StreamID, From: routed.From, Caller: in.Caller.Addr().String(),
		Dialect: routed.Dialect,
		App:     routed.Stream.App, Stream: routed.Stream.Stream, Params: routed.Stream.Params, Key: routed.Key,
	}
	if routed.Changed {
		d.Rewritten = routed.StreamID
	}
	switch {
	case routed.Dialect == rules.DialectMediaMTX:
		// This dialect has a place for a password.
		d.StreamID, d.Rewritten, d.Params = streamid.Redact(d.StreamID), streamid.Redact(d.Rewritten), streamid.RedactQuery(d.Params)
	case routed.From != rules.OriginSent:
		// The client knows the secrets that it sent, but not those of the rules.
		d.Rewritten, d.Params = streamid.Redact(d.Rewritten), streamid.Redact(d.Params)
	}
	if routed.Key != "" {
		d.Vhost, _, _ = strings.Cut(routed.Key, "/")
		if d.Mode = "request"; routed.Stream.Publish {
			d.Mode = "publish"
		}
	}
	return d
}

// writeRejection answers with the rejection that a caller would get. SRT's codes from
// 2000 on are HTTP's plus 2000 (access_control.h).
func writeRejection(w http.ResponseWriter, d resolution, code handshake.Code, why string) {
	d.Why, d.Reject = why, code
	status := int(code) - 2000
	writeReply(w, status, reply{Code: status, Error: answer.Printable(why), Data: sanitizeResolution(d)})
}
