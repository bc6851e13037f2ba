package streamid

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"srtrelay/handshake"
	"srtrelay/streamid/rules"
)

func ruleSet(t *testing.T, text string) *rules.Set {
	t.Helper()
	s, err := rules.Parse("r.yaml", []byte(text), Check)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRoute(t *testing.T) {
	const (
		camera = "ports: [{port: 20081, stream-id: '#!::r=live/camera,m=publish', override: true}]\n"
		inject = "inject-address: {key: caller}\n"
		vhosts = "vhosts: [a.com]\n"
		access = "access: {publish: {allow: [10.0.0.0/8]}, play: {deny: [10.0.0.0/8]}}\n"
	)
	long := "#!::r=live/" + strings.Repeat("x", 501)
	for _, c := range []struct {
		name, rules, sent string
		port              uint16
		hsv4              bool
		told, key         string
		changed           bool
		err               error
		code              handshake.Code
	}{
		{name: "no rules", sent: "#!::r=a/b", told: "#!::r=a/b", key: "__defaultVhost__/a/b"},
		{name: "nothing at all", key: "__defaultVhost__/live/livestream"},
		{name: "by port", rules: camera, port: 20081, sent: "x", told: "#!::r=live/camera,m=publish", changed: true, key: "__defaultVhost__/live/camera"},
		{name: "what was sent all the same", rules: camera, port: 20081, sent: "#!::r=live/camera,m=publish", told: "#!::r=live/camera,m=publish", key: "__defaultVhost__/live/camera"},
		{name: "known vhost", rules: vhosts, sent: "#!::h=a.com,r=a/b", told: "#!::h=a.com,r=a/b", key: "a.com/a/b"},
		{name: "unknown vhost", rules: vhosts, sent: "#!::h=b.com,r=a/b", told: "#!::h=b.com,r=a/b", key: "__defaultVhost__/a/b"},
		{name: "told", rules: inject, sent: "#!::r=a/b", told: "#!::r=a/b,caller=192.0.2.1", changed: true, key: "__defaultVhost__/a/b"},
		{name: "told by itself", rules: inject, sent: "#!::r=a/b,caller=192.0.2.1", told: "#!::r=a/b,caller=192.0.2.1", key: "__defaultVhost__/a/b"},
		{name: "none, told", rules: inject, told: "#!::r=live/livestream,m=publish,caller=192.0.2.1", changed: true, key: "__defaultVhost__/live/livestream"},
		{name: "by port, told", rules: camera + inject, port: 20081, told: "#!::r=live/camera,m=publish,caller=192.0.2.1", changed: true, key: "__defaultVhost__/live/camera"},
		{name: "HSv4", rules: inject, hsv4: true, key: "__defaultVhost__/live/livestream"},
		{name: "HSv4 by port", rules: camera + inject, port: 20081, hsv4: true, told: "#!::r=live/camera,m=publish", key: "__defaultVhost__/live/camera"},
		{name: "HSv4 plays by rule, publishes at SRS", rules: "default: live/x\n" + access, hsv4: true, err: errForbidden, code: handshake.CodeForbidden},
		{name: "publisher", rules: access, sent: "#!::r=a/b,m=publish", err: errForbidden, code: handshake.CodeForbidden},
		{name: "player", rules: access, sent: "a/b", told: "a/b", key: "__defaultVhost__/a/b"},
		{name: "511 bytes", rules: inject, sent: long[:511-len(",caller=192.0.2.1")], told: long[:511-len(",caller=192.0.2.1")] + ",caller=192.0.2.1", changed: true, key: "__defaultVhost__/" + long[6:511-len(",caller=192.0.2.1")]},
		{name: "512 bytes", rules: inject, sent: long[:512-len(",caller=192.0.2.1")], err: errTooLong, code: handshake.CodeBadRequest},
		{name: "512 bytes of the caller's own", rules: vhosts, sent: long, told: long, key: "__defaultVhost__/" + long[6:]},
		{name: "no place", rules: inject, sent: "#!::r=x,k=a/b", err: errInject, code: handshake.CodeBadRequest},
		{name: "bad mode", rules: inject, sent: "#!::r=a/b,m=x", err: errMode, code: handshake.CodeBadRequest},
	} {
		r, err := Route(ruleSet(t, c.rules), rules.Request{
			ListenPort: c.port, Caller: netip.MustParseAddrPort("192.0.2.1:5000"), StreamID: c.sent, HSv4: c.hsv4,
		})
		if !errors.Is(err, c.err) || Refusal(err) != c.code {
			t.Errorf("%s: %v (%v), want %v (%v)", c.name, err, Refusal(err), c.err, c.code)
			continue
		}
		if err == nil && (r.StreamID != c.told || r.Key != c.key || r.Changed != c.changed) {
			t.Errorf("%s: %+v, want %q, changed %v, key %q", c.name, r, c.told, c.changed, c.key)
		}
	}
}

func TestRouteOfNobody(t *testing.T) {
	r, err := Route(nil, rules.Request{StreamID: "#!::h=b.com,r=a/b,m=publish"})
	if err != nil || r.Key != "b.com/a/b" || !r.Stream.Publish || r.From != rules.OriginSent {
		t.Errorf("%+v, %v", r, err)
	}
}

// SRS's proxy keeps the dot that SRS drops: both keys are known.
func TestRouteSpellsDottedNames(t *testing.T) {
	for id, want := range map[string]string{
		"#!::r=live/cam.01,m=publish":        "__defaultVhost__/live/cam.01",
		"#!::r=live/cam.01?secret=a.b":       "__defaultVhost__/live/cam.01",
		"#!::h=a.com,r=live/a.b.c,m=publish": "a.com/live/a.b.c",
		"#!::r=live/cam,m=publish":           "",
	} {
		got, err := Route(nil, rules.Request{StreamID: id})
		if err != nil || got.ProxyKey != want {
			t.Errorf("%s: %q, %v, want %q", id, got.ProxyKey, err, want)
		}
	}
}
