package term

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
)

// relay is a relay's API with the answers of testdata, some of which may be
// replaced, and the questions it was asked.
type relay struct {
	*httptest.Server
	mu       sync.Mutex
	replaced map[string]string // path -> body
	asked    []*url.URL
	away     bool
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	files := map[string]string{
		"/api/v1/versions": "versions", "/api/v1/shards": "shards", "/api/v1/backends": "backends", "/api/v1/streams": "streams",
		"/api/v1/streams/one": "stream", "/api/v1/sessions/0-17-42": "session",
	}
	r := &relay{replaced: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked = append(r.asked, q.URL)
		if r.away {
			panic(http.ErrAbortHandler)
		}
		if body, ok := r.replaced[q.URL.Path]; ok {
			if strings.HasPrefix(body, `{"code":404`) {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = io.WriteString(w, body)
			return
		}
		text, err := os.ReadFile(filepath.Join("testdata", "api", files[q.URL.Path]+".json"))
		if err != nil {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"code":404,"error":"no such path"}`)
			return
		}
		_, _ = w.Write(text)
	}))
	t.Cleanup(r.Close)
	return r
}

// replace makes data the answer of a path.
func (r *relay) replace(t *testing.T, path string, data any) {
	t.Helper()
	body, err := json.Marshal(answer.Reply[any]{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replaced[path] = string(body)
}

func (r *relay) setAway(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
}

// last is the latest question to a path.
func (r *relay) last(path string) url.Values {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.asked) - 1; i >= 0; i-- {
		if r.asked[i].Path == path {
			return r.asked[i].Query()
		}
	}
	return nil
}

// watched is a live view whose answers come at times that the test sets.
type watched struct {
	*top
	t   *testing.T
	now time.Time
}

func watch(t *testing.T, r *relay, o TopOptions) *watched {
	t.Helper()
	c := client.New(r.Listener.Addr().String(), "", nil)
	t.Cleanup(c.Close)
	w := &watched{newTop(t.Context(), c, o), t, takenAt}
	w.now = takenAt
	w.answer(w.query())
	return w
}

// answer runs what asks and takes what comes, as of the next second.
func (w *watched) answer(command tea.Cmd) {
	w.t.Helper()
	if command == nil {
		return
	}
	s, ok := command().(sample)
	if !ok {
		w.t.Fatalf("the command is no question")
	}
	w.now = w.now.Add(time.Second)
	s.at, s.shards.TakenAt = w.now, w.now
	w.Update(s)
}

// refresh is a tick and its answer.
func (w *watched) refresh() { w.answer(w.query()) }

// keys presses one key after the other and answers what each asks.
func (w *watched) keys(names ...string) {
	w.t.Helper()
	special := map[string]rune{
		"enter": tea.KeyEnter, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "backspace": tea.KeyBackspace,
		"pgdown": tea.KeyPgDown, "space": tea.KeySpace,
	}
	for _, name := range names {
		key := tea.KeyPressMsg{Text: name, Code: []rune(name)[0]}
		if code, ok := special[name]; ok {
			key = tea.KeyPressMsg{Code: code}
		}
		_, command := w.Update(key)
		w.answer(command)
	}
}

// screen is what is seen, without colours.
func (w *watched) screen() string { return ansi.Strip(w.View().Content) }

// sees checks that the screen holds all texts, and none after "not".
func (w *watched) sees(texts ...string) {
	w.t.Helper()
	screen, want := w.screen(), true
	for _, text := range texts {
		if text == "not" {
			want = false
			continue
		}
		if strings.Contains(screen, text) != want {
			w.t.Errorf("%q seen: %v, want %v:\n%s", text, !want, want, screen)
		}
	}
}
