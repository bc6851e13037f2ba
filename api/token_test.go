package api

import (
	"net/url"
	"strings"
	"testing"
)

// SRS posts the path of its heartbeat's URL and drops the query: the token in
// the path is the only one that it can bring.
func TestTokenInThePath(t *testing.T) {
	for _, token := range []string{"correct-horse", "s3cret+/=", "a/b//c/../d", "%2F%252F", "x;y{z}?#&", "........", `"quoted"`, "~!@$^*()_|\\`"} {
		d := newFixture(t, token)
		// As url.PathEscape, and as an operator would who encodes all.
		all := ""
		for _, c := range []byte(token) {
			all += "%" + string("0123456789ABCDEF"[c>>4]) + string("0123456789ABCDEF"[c&15])
		}
		for _, encoded := range []string{url.PathEscape(token), all} {
			d.expect(200, accepted, d.call("POST", register+"/"+encoded, sample))
		}
		for path, want := range map[string]string{
			register + "/":                    "token: missing",
			register + "/" + all[:len(all)-3]: "token: wrong",
			register + "/" + all + "x":        "token: wrong",
			register + "/" + all + "/":        "token: wrong",
		} {
			if w := d.call("POST", path, sample); w.Code != 401 || !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
		// What is there counts: not a right one elsewhere.
		if w := d.call("POST", register+"/wrong-token?token="+url.QueryEscape(token), sample); w.Code != 401 {
			t.Errorf("a wrong token in the path beside the right one: %d", w.Code)
		}
		if w := d.call("DELETE", "/api/v1/backends/"+sampleID+"/"+url.PathEscape(token), ""); w.Code == 200 {
			t.Error("a path that is not the register call's holds a token")
		}
	}
	if w := newFixture(t, "").call("POST", register+"/any-token", sample); w.Code != 200 {
		t.Errorf("no token is asked for, and one is brought: %d %s", w.Code, w.Body)
	}
}

// Neither log nor answers repeat a token, right or nearly right, whatever is
// wrong with the call.
func TestTokenInThePathIsNotRepeated(t *testing.T) {
	const token = "correct-horse"
	d := newFixture(t, token)
	said := ""
	for _, c := range []struct{ method, path, body, host string }{
		{"POST", register + "/correct-hors", sample, ""},
		{"POST", register + "/" + token, "{", ""},
		{"POST", register + "/" + token, strings.Replace(sample, "10.0.0.5", "correct", 1), ""},
		{"POST", register + "/" + token + "/x", sample, ""},
		{"GET", register + "/" + token, "", ""},
		{"POST", "/api/v1/srs/Register/" + token, sample, ""},
		{"POST", "/api/v2/register/" + token, sample, "evil.example"},
		{"POST", register + "/wrong-horse", sample, "evil.example"},
		{"POST", register + "/" + token, sample, ""},
	} {
		if d.host = c.host; c.host == "" {
			d.host = "127.0.0.1"
		}
		d.http = newHandler("v1", d.deps, d.logger()).mux() // which logs the first refusal
		w := d.call(c.method, c.path, c.body)
		said += w.Body.String()
	}
	if said += d.log.String(); strings.Contains(said, "horse") || strings.Contains(said, "hors") {
		t.Errorf("a token is repeated:\n%s", said)
	}
	if strings.Count(said, "/register/***") < 5 {
		t.Errorf("paths are not told at all:\n%s", said)
	}
}
