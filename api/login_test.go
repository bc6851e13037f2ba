package api

import (
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const readers = "for-readers"

// open are calls that need no token although there is one for reading.
var open = []string{"/live", "/ready", "/api/v1/versions", "/api/v1/openapi.yaml", "/{$}", "/ui/"}

// Every route of the router is tried with every token, so that a new one cannot be
// forgotten: what reads takes one of both, what changes something the full one.
func TestReadToken(t *testing.T) {
	d := everything(t, func(r *Deps) { r.ReadToken = readers })
	status := func(method, path, token string) int {
		if token == "" {
			return d.call(method, path, sample).Code
		}
		return d.call(method, path, sample, "Authorization", "Bearer "+token).Code
	}
	read, change := 0, 0
	for pattern, calls := range newHandler("v1", d.deps, discard).routes() {
		path := strings.NewReplacer("{id}", "0-1-2", "{token...}", "", "{$}", "").Replace(pattern)
		if pattern == loginPath || path == "/debug/pprof/profile" || path == "/debug/pprof/trace" {
			continue // its own test; these two would take their time
		}
		for method := range calls {
			none, reader, full := status(method, path, ""), status(method, path, readers), status(method, path, "secret-token")
			refused := func(status int) bool { return status == http.StatusUnauthorized || status == http.StatusForbidden }
			if refused(full) {
				t.Errorf("%s %s: %d with the token", method, pattern, full)
			}
			switch {
			case slices.Contains(open, pattern):
				if refused(none) {
					t.Errorf("%s %s: %d without a token", method, pattern, none)
				}
			case refused(reader):
				change++
				if none != http.StatusUnauthorized || reader != http.StatusForbidden {
					t.Errorf("%s %s: %d without a token, %d with the one for reading", method, pattern, none, reader)
				}
				if (method == http.MethodGet || method == http.MethodHead) && !strings.HasPrefix(path, "/debug/") && path != "/api/v1/capture" {
					t.Errorf("%s %s only reads, and is refused to readers", method, pattern)
				}
			default:
				read++
				if none != http.StatusUnauthorized {
					t.Errorf("%s %s: %d without a token", method, pattern, none)
				}
			}
		}
	}
	if read < 15 || change < 10 {
		t.Errorf("%d calls read, %d change something", read, change)
	}
	if body := d.call("GET", "/api/v1/sessions/0-1-2", "", "Authorization", "Bearer "+readers).Body.String(); strings.Contains(body, "socket_id") {
		t.Errorf("readers see socket IDs: %s", body)
	}
}

// loggedIn makes a login with a token and returns the cookie.
func (d *fixture) loggedIn(token string) *http.Cookie {
	d.Helper()
	w := d.call("POST", loginPath, "", "Authorization", "Bearer "+token)
	cookies := w.Result().Cookies()
	if w.Code != http.StatusOK || len(cookies) != 1 {
		d.Fatalf("%d %s, cookies %v", w.Code, w.Body, cookies)
	}
	return cookies[0]
}

// A login allows what its token allows, and no more. Whoever steals the cookie has no token.
func TestLogin(t *testing.T) {
	d := everything(t, func(r *Deps) { r.ReadToken = readers })
	for token, want := range map[string][2]int{readers: {200, 403}, "secret-token": {200, 200}} {
		c := d.loggedIn(token)
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.Secure || c.MaxAge != 12*3600 {
			t.Errorf("cookie %+v", c)
		}
		if strings.Contains(c.Value, token) {
			t.Errorf("the cookie holds the token: %s", c.Value)
		}
		sent := []string{"Cookie", c.Name + "=" + c.Value}
		got := [2]int{d.call("GET", "/metrics", "", sent...).Code, d.call("DELETE", "/api/v1/sessions/0-1-2", "", sent...).Code}
		if got != want {
			t.Errorf("%s: read and change %v, want %v", token, got, want)
		}
		// What is brought counts, not the login beside it.
		if w := d.call("GET", "/metrics?token=wrong-token", "", sent...); w.Code != 401 {
			t.Errorf("a wrong token beside a login: %d", w.Code)
		}
		for i := range c.Value {
			other := []byte(c.Value)
			other[i] ^= 4 // the last two bits of the last character are no part of the value
			if w := d.call("GET", "/metrics", "", "Cookie", c.Name+"="+string(other)); w.Code != 401 {
				t.Fatalf("a changed cookie is taken: %s for %s", other, c.Value)
			}
		}
		// Another page's request, though the browser sends the cookie with it: one on another port is same-site.
		for _, site := range []string{"cross-site", "same-site"} {
			if w := d.call("DELETE", "/api/v1/sessions/0-1-2", "", append(sent, "Sec-Fetch-Site", site)...); w.Code != 403 {
				t.Errorf("%s: %d", site, w.Code)
			}
		}
		d.http = newHandler("v1", d.deps, discard).mux()
		if w := d.call("GET", "/metrics", "", sent...); w.Code != 401 {
			t.Errorf("a login outlives the process: %d", w.Code)
		}
		d.http = newHandler("v1", d.deps, d.logger()).mux()
	}
	for header, want := range map[string]string{"": "token: missing", "Bearer wrong-token": "token: wrong", "Basic x": "token: Authorization is not"} {
		w := d.call("POST", loginPath, "", "Authorization", header)
		if w.Code != 401 || !strings.Contains(w.Body.String(), want) || len(w.Result().Cookies()) != 0 {
			t.Errorf("%q: %d %s", header, w.Code, w.Body)
		}
	}
	if w := d.call("POST", loginPath, "", "Authorization", "Bearer "+readers, "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
		t.Errorf("from elsewhere: %d", w.Code)
	}
	if c := d.call("DELETE", loginPath, "").Result().Cookies(); len(c) != 1 || c[0].Value != "" || c[0].MaxAge >= 0 {
		t.Errorf("logout: %v", c)
	}
	// Where there is no token, nobody has to log in.
	none := everything(t, func(r *Deps) { r.Token = "" })
	none.expect(200, `{"code":0,"data":{"access":"full"}}`, none.call("POST", loginPath, ""))
}

// A login ends, and one that is in use does not.
func TestLoginsEnd(t *testing.T) {
	h := newHandler("v1", Deps{Settings: Settings{Token: "secret-token", ReadToken: readers}}, discard)
	now := time.Now()
	for left, want := range map[time.Duration]access{time.Hour: accessRead, 2 * time.Second: accessRead, -time.Second: accessNone} {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(&http.Cookie{Name: cookieName(r), Value: "other"})
		r.AddCookie(&http.Cookie{Name: cookieName(r), Value: h.deps.Logins.present().issue(accessRead, now.Add(left))})
		if a, _ := h.deps.Logins.present().find(r, now); a != want {
			t.Errorf("%v left: %v, want %v", left, a, want)
		}
	}
	for left, renewed := range map[time.Duration]bool{loginTime/2 - time.Minute: true, loginTime/2 + time.Minute: false} {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(&http.Cookie{Name: cookieName(r), Value: h.deps.Logins.present().issue(accessRead, now.Add(left))})
		w := httptest.NewRecorder()
		h.authorizeRead(func(http.ResponseWriter, *http.Request) {})(w, r)
		if got := len(w.Result().Cookies()) == 1; got != renewed || w.Code != 200 {
			t.Errorf("%v left: renewed %v, status %d", left, got, w.Code)
		}
	}
}

// A link with the token leads to the page without it, in a browser's way.
func TestTokenLeavesTheAddress(t *testing.T) {
	d := everything(t, func(r *Deps) {
		r.ReadToken = readers
		r.Page = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("page " + r.URL.String())) })
	})
	server := httptest.NewServer(d.http)
	defer server.Close()
	for query, want := range map[string]int{"?token=" + readers: 200, "?token=secret-token&x=1": 200, "?token=wrong-token": 401} {
		jar, _ := cookiejar.New(nil)
		client := http.Client{Jar: jar, Transport: &http.Transport{}}
		at := func(path string) (int, *url.URL) {
			answer, err := client.Get(server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			return answer.StatusCode, answer.Request.URL
		}
		status, shown := at("/" + query)
		if status != 200 || shown.RequestURI() != "/" {
			t.Errorf("%s: %d, the address is %s", query, status, shown)
		}
		if status, _ := at("/metrics"); status != want {
			t.Errorf("%s: %d, want %d", query, status, want)
		}
		client.CloseIdleConnections()
	}
	w := d.call("GET", "/?token="+readers, "")
	if w.Code != 303 || w.Header().Get("Location") != "./" || w.Header().Get("Referrer-Policy") != "no-referrer" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if strings.Contains(d.log.String(), readers) {
		t.Errorf("a token is logged: %s", &d.log)
	}
}
