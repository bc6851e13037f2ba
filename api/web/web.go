// Package web is the web page at the root of the HTTP API: HTML, CSS and scripts embedded
// in the binary, and a handler that serves them. The page calls the API of its own origin
// for everything that it shows.
//
// The package must not know the API's answers: package api mounts the handler, and the
// scripts use the API as any other client does.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed ui
var files embed.FS

// policy allows the page to load files of this server only: no inline script or style, no
// other host, no frame around it, no form.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// asset is a file of the page.
type asset struct {
	kind string // its media type
	tag  string // its ETag, a hash of the content
	text []byte
}

// Handler serves the page at / and its parts below /ui/.
func Handler() http.Handler {
	assets := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Content-Security-Policy", policy)
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			header.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed, use GET, HEAD", http.StatusMethodNotAllowed)
			return
		}
		a, found := assets[r.URL.Path]
		if !found {
			http.Error(w, "no such path: "+r.URL.Path, http.StatusNotFound)
			return
		}
		header.Set("Content-Type", a.kind)
		header.Set("ETag", a.tag)
		// Always revalidated: a page must not run scripts of another version.
		header.Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.text))
	})
}

// load reads the embedded files.
func load() map[string]asset {
	assets := map[string]asset{}
	err := fs.WalkDir(files, "ui", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		assets["/"+name] = asset{kind: mediaType(name), tag: `"` + hex.EncodeToString(sum[:12]) + `"`, text: text}
		return nil
	})
	if err != nil {
		panic("web: embedded files cannot be read: " + err.Error()) // they are part of the binary
	}
	assets["/"] = assets["/ui/index.html"]
	// Its relative links are only right at the root.
	delete(assets, "/ui/index.html")
	return assets
}

// mediaType returns the media type of a file. It does not use the system's table of types,
// which may have text/plain for scripts; browsers do not run those.
func mediaType(name string) string {
	switch extension := path.Ext(name); extension {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	default:
		return strings.TrimSpace(mime.TypeByExtension(extension))
	}
}
