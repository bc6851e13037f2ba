package api

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"srtrelay/internal/message"
)

// changeable is an API whose settings a test changes.
type changeable struct {
	*testing.T
	handler *handler
	at      *httptest.Server
}

func newChangeable(t *testing.T, s Settings) *changeable {
	d := everything(t, nil)
	d.deps.Settings = s
	c := &changeable{T: t, handler: newHandler("v1", d.deps, discard)}
	c.at = httptest.NewServer(c.handler.mux())
	t.Cleanup(c.at.Close)
	t.Cleanup(c.handler.close)
	return c
}

// call returns the answer's status. The caller closes the body.
func (c *changeable) call(client *http.Client, method, path, token string) *http.Response {
	c.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, c.at.URL+path, nil)
	if err != nil {
		c.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	a, err := client.Do(r)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = a.Body.Close() })
	return a
}

func (c *changeable) want(status int, client *http.Client, method, path, token string) {
	c.Helper()
	if a := c.call(client, method, path, token); a.StatusCode != status {
		c.Errorf("%s %s with token %q: %d, want %d", method, path, token, a.StatusCode, status)
	}
}

// With other tokens the old ones are refused, and what was opened with them ends: logins
// and feeds.
func TestTokensChange(t *testing.T) {
	const drain = "/api/v1/backends/static/drain"
	first := Settings{Token: "full-1", ReadToken: "read-1", TTL: time.Minute}
	c := newChangeable(t, first)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	anyone, page := c.at.Client(), &http.Client{Jar: jar, Transport: c.at.Client().Transport}
	c.want(200, page, http.MethodPost, loginPath, "read-1")
	c.want(200, page, http.MethodGet, "/api/v1/backends", "")
	c.want(200, anyone, http.MethodPost, drain, "full-1")
	feed := c.call(anyone, http.MethodGet, "/api/v1/events", "read-1")
	if n, err := feed.Body.Read(make([]byte, len(feedHello))); n == 0 {
		t.Fatal(err)
	}

	first.Name = "edge"
	c.handler.set(first) // the same tokens: everything goes on
	c.want(200, page, http.MethodGet, "/api/v1/backends", "")
	if context.Cause(c.handler.settings.Load().revoked) != nil {
		t.Error("feeds have ended though the tokens are the same")
	}

	c.handler.set(Settings{Token: "full-2", ReadToken: "read-2", TTL: time.Minute})
	for {
		if _, err := feed.Body.Read(make([]byte, 1024)); err != nil {
			break // it has ended
		}
	}
	c.want(401, page, http.MethodGet, "/api/v1/backends", "")
	c.want(401, anyone, http.MethodGet, "/api/v1/backends", "read-1")
	c.want(401, anyone, http.MethodPost, drain, "full-1")
	c.want(403, anyone, http.MethodPost, drain, "read-2")
	c.want(200, anyone, http.MethodGet, "/api/v1/backends", "read-2")
	c.want(200, anyone, http.MethodPost, drain, "full-2")

	c.handler.set(Settings{TTL: time.Minute})
	c.want(200, anyone, http.MethodPost, drain, "")
}

// Other names of the host, and another name of the relay, count at once.
func TestNamesChange(t *testing.T) {
	c := newChangeable(t, Settings{Name: "old", Hosts: []string{"old.example"}, TTL: time.Minute})
	status := func(host string) int {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/versions", nil)
		r.Host = host
		w := httptest.NewRecorder()
		c.at.Config.Handler.ServeHTTP(w, r)
		if w.Code == 200 && !strings.Contains(w.Body.String(), `"name":"`+strings.TrimSuffix(host, ".example")+`"`) {
			t.Errorf("%s: %s", host, w.Body)
		}
		return w.Code
	}
	if before := status("old.example"); before != 200 {
		t.Error(before)
	}
	c.handler.set(Settings{Name: "new", Hosts: []string{"new.example"}, TTL: time.Minute})
	if before, after := status("old.example"), status("new.example"); before != 403 || after != 200 {
		t.Errorf("%d, %d", before, after)
	}
}

// A login goes on in a process that takes over, if its tokens are the same.
func TestLoginsGoOn(t *testing.T) {
	same := Settings{Token: "full-1", ReadToken: "read-1", TTL: time.Minute}
	for name, next := range map[string]Settings{
		"same tokens": same, "another name": {Name: "n", Token: "full-1", ReadToken: "read-1", TTL: time.Minute},
		"another token": {Token: "full-2", ReadToken: "read-1", TTL: time.Minute}, "another read token": {Token: "full-1", ReadToken: "read-2", TTL: time.Minute},
		"no tokens": {TTL: time.Minute},
	} {
		old, c := NewLogins(), newChangeable(t, next)
		old.setTokens(same.Token, same.ReadToken)
		if err := c.handler.deps.Logins.Restore(old.AppendSnapshot(nil)); err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.AddCookie(&http.Cookie{Name: cookieName(r), Value: old.present().issue(accessRead, time.Now().Add(time.Hour))})
		want := accessNone
		if next.Token == same.Token && next.ReadToken == same.ReadToken {
			want = accessRead
		}
		if a, _ := c.handler.deps.Logins.present().find(r, time.Now()); a != want {
			t.Errorf("%s: access %v, want %v", name, a, want)
		}
	}
	good := NewLogins().AppendSnapshot(nil)
	for name, b := range map[string][]byte{
		"empty": nil, "half": good[:20], "other version": message.AppendVersion(nil, 99),
		"short key": message.AppendBytes(message.AppendVersion(nil, 1), loginsKey, "short"),
	} {
		l := NewLogins()
		was := l.key
		if err := l.Restore(b); err == nil || !strings.HasPrefix(err.Error(), "snapshot of the logins: ") || l.key != was {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// replacing is the context of a request during which the tokens are replaced: after the token
// or the login was checked, and before the cookie is made.
type replacing struct {
	context.Context
	replace func()
}

func (c replacing) Value(key any) any {
	if key == http.LocalAddrContextKey {
		c.replace()
	}
	return c.Context.Value(key)
}

// A token that is replaced while it is exchanged for a login, or while a login is prolonged,
// leaves no login behind.
func TestNoLoginOutlivesItsToken(t *testing.T) {
	was := Settings{Token: "full-1", ReadToken: "read-1", TTL: time.Minute}
	for name, begin := range map[string]func(*handler, *http.Request) http.HandlerFunc{
		"login": func(h *handler, r *http.Request) http.HandlerFunc {
			r.Header.Set("Authorization", "Bearer full-1")
			return h.login
		},
		"link": func(h *handler, r *http.Request) http.HandlerFunc {
			r.URL.RawQuery = "token=full-1"
			return h.page
		},
	} {
		h := newChangeable(t, was).handler
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		do := begin(h, r)
		w := httptest.NewRecorder()
		do(w, r.WithContext(replacing{r.Context(), func() { h.set(Settings{Token: "full-2", ReadToken: "read-2", TTL: time.Minute}) }}))
		cookies := w.Result().Cookies()
		if len(cookies) != 1 || cookies[0].Value == "" {
			t.Fatalf("%s: cookies %v", name, cookies)
		}
		later := httptest.NewRequest(http.MethodGet, "/", nil)
		later.AddCookie(cookies[0])
		if a, _ := h.accessOf(later); a != accessNone {
			t.Errorf("%s: access %v by a login of the old token", name, a)
		}
	}
}
