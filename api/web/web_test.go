package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, method, address string, header ...string) *http.Response {
	t.Helper()
	q := httptest.NewRequest(method, address, nil)
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, q)
	return w.Result()
}

func TestHandler(t *testing.T) {
	for _, c := range []struct {
		method, path string
		status       int
		kind         string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/ui/app.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/ui/theme.css", 200, "text/css; charset=utf-8"},
		{"GET", "/ui/icon.svg", 200, "image/svg+xml"},
		{"GET", "/ui/", 404, ""},
		{"GET", "/ui/index.html", 404, ""},
		{"GET", "/ui/../web.go", 404, ""},
		{"POST", "/", 405, ""},
		{"DELETE", "/ui/app.js", 405, ""},
	} {
		r := get(t, c.method, c.path)
		if r.StatusCode != c.status || (c.kind != "" && r.Header.Get("Content-Type") != c.kind) {
			t.Errorf("%s %s: %d %q", c.method, c.path, r.StatusCode, r.Header.Get("Content-Type"))
		}
		policy := r.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: headers %v", c.method, c.path, r.Header)
		}
		if body, _ := io.ReadAll(r.Body); c.method == "HEAD" && len(body) > 0 {
			t.Errorf("HEAD %s has a body of %d bytes", c.path, len(body))
		}
	}
}

// A page that the browser has is not sent again, but asked for each time: its
// scripts must be of one version.
func TestUnchangedFilesAreNotSentAgain(t *testing.T) {
	first := get(t, "GET", "/ui/app.js")
	tag := first.Header.Get("ETag")
	if tag == "" || first.Header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("headers %v", first.Header)
	}
	if again := get(t, "GET", "/ui/app.js", "If-None-Match", tag); again.StatusCode != http.StatusNotModified {
		t.Errorf("with the tag of before: %d", again.StatusCode)
	}
	if other := get(t, "GET", "/ui/grid.js", "If-None-Match", tag); other.StatusCode != http.StatusOK {
		t.Errorf("another file with this tag: %d", other.StatusCode)
	}
}

var (
	links = regexp.MustCompile(`(?:href|src)="([^"#][^"]*)"|from "([^"]+)"|import "([^"]+)"`)
	// Namespaces are names, not addresses to load from.
	outside = regexp.MustCompile(`(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}`)
	inline  = regexp.MustCompile(`<script>|<style|\sstyle=|\son[a-z]+=|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function`)
)

// Every file belongs to the page, and the page needs nothing from elsewhere.
func TestThePageIsWhole(t *testing.T) {
	assets := load()
	used := map[string]bool{"/": true, "/ui/app.js": true}
	for name, a := range assets {
		text := string(a.text)
		for _, m := range links.FindAllStringSubmatch(text, -1) {
			target := path.Join(path.Dir(name), m[1]+m[2]+m[3])
			if m[1] == "./" {
				continue
			}
			used[target] = true
			if _, found := assets[target]; !found {
				t.Errorf("%s refers to %s, which there is not", name, target)
			}
		}
		if found := outside.FindAllString(strings.ReplaceAll(text, "http://www.w3.org/2000/svg", ""), -1); len(found) > 0 {
			t.Errorf("%s names other hosts: %q", name, found)
		}
		if found := inline.FindAllString(text, -1); len(found) > 0 {
			t.Errorf("%s holds %q, which the policy forbids or a stream ID could abuse", name, found)
		}
		if lines := strings.Count(text, "\n"); lines > 300 {
			t.Errorf("%s has %d lines: would two files be easier to live in?", name, lines)
		}
	}
	for name := range assets {
		if !used[name] {
			t.Errorf("%s is not used", name)
		}
	}
}
