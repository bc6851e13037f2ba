package term

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
)

func TestTopScreens(t *testing.T) {
	w := watch(t, newRelay(t), TopOptions{})
	w.client = client.New("192.0.2.1:12025", "", nil) // the golden files must not hold a free port
	compareGolden(t, "top-first", w.screen())
	w = watch(t, newRelay(t), TopOptions{})
	w.keys("enter")
	at := w.client.API()
	plain := func() string { return strings.Replace(w.screen(), at, "192.0.2.1:12025", 1) }
	compareGolden(t, "top-stream", withoutFirst(plain()))
	w.keys("enter")
	compareGolden(t, "top-session", withoutFirst(plain()))
	w.Update(tea.WindowSizeMsg{Width: 160, Height: 60})
	compareGolden(t, "top-session-large", withoutFirst(plain()))
	w.keys("esc", "esc")
	compareGolden(t, "top-large", withoutFirst(plain()))
	w.keys("?")
	compareGolden(t, "top-help", withoutFirst(plain()))
}

// withoutFirst leaves out the line whose blanks depend on the port.
func withoutFirst(screen string) string {
	_, rest, _ := strings.Cut(screen, "\n")
	return rest
}

// Whatever the terminal's size: as many lines as rows, none too long.
func TestTopFitsEveryTerminal(t *testing.T) {
	w := watch(t, newRelay(t), TopOptions{})
	for _, open := range []string{"", "enter", "enter", "?", "q?"} {
		if open == "enter" || open == "?" {
			w.keys(open)
		}
		for width := range 130 {
			for _, height := range []int{0, 1, 11, 12, 13, 24, 50} {
				w.Update(tea.WindowSizeMsg{Width: width, Height: height})
				lines := strings.Split(w.View().Content, "\n")
				if len(lines) != max(height, 1) && height >= smallestHeight && width >= smallestWidth {
					t.Errorf("%dx%d: %d lines", width, height, len(lines))
				}
				for _, line := range lines {
					if n := ansi.StringWidth(line); n > width {
						t.Fatalf("%dx%d: line of %d columns: %q", width, height, n, line)
					}
				}
			}
		}
	}
}

// A wide terminal has room for the last minute of each stream, and only then is the relay
// asked for it.
func TestTopUsesTheWidth(t *testing.T) {
	r := newRelay(t)
	list := fixture[answer.StreamList](t, "streams")
	history := &answer.History{StepSeconds: 1}
	for i := range 60 {
		v := 1e6 * float64(i+1)
		history.BitrateIn = append(history.BitrateIn, &v)
	}
	history.BitrateIn[0], history.BitrateIn[1] = nil, nil
	list.Streams[0].History = history
	r.replace(t, "/api/v1/streams", list)
	w := watch(t, r, TopOptions{})
	if asked := r.last("/api/v1/streams"); asked.Has("history") {
		t.Errorf("a terminal of 80 columns asks for %v", asked)
	}
	w.sees("not", "LAST MINUTE")
	w.Update(tea.WindowSizeMsg{Width: 165, Height: 24})
	w.refresh()
	if asked := r.last("/api/v1/streams"); asked.Get("history") != "60" || asked.Get("limit") != "24" {
		t.Errorf("a terminal of 165 columns asks for %v", asked)
	}
	w.sees("IN, LAST MINUTE", "RETRANS", " ▁▁▂▂▂▂▃▃▃▃▄▄▄▅▅▅▅▆▆▆▆▇▇▇▇████")
}

// Every number on the screen is the API's, or from two of its answers.
func TestTopShowsTheRelaysNumbers(t *testing.T) {
	r := newRelay(t)
	w := watch(t, r, TopOptions{Exact: true})
	w.Update(tea.WindowSizeMsg{Width: 240, Height: 50})
	for _, s := range fixture[answer.StreamList](t, "streams").Streams {
		f := figures{exact: true}
		w.sees(shortKey(s.Key), f.bitrate(s.BitrateIn), f.bitrate(s.BitrateOut), f.millis(s.CallerRTT), f.millis(s.BackendRTT),
			f.percent(s.CallerLoss), f.percent(s.BackendLoss), f.count(s.Retransmitted))
	}
	shards := fixture[answer.ShardList](t, "shards")
	w.sees(fmt.Sprintf("sessions %s (+%d half-open)", figures{}.count(shards.Total.Sessions), shards.Total.HalfOpen), "in –", "packets/s –")

	shards.Total.Packets += 5000
	shards.Total.Bytes += 6_000_000
	shards.Total.Drops["foreign"] += 20
	shards.Total.SendDrops["full"] += 4
	shards.Total.KernelDrops += 3
	shards.Shards[0].Packets += 4000
	shards.Shards[1].Packets += 1000
	r.replace(t, "/api/v1/shards", shards)
	w.refresh()
	w.sees("in 48,000,000 bit/s", "packets/s 5,000", "drops/s 24", "kernel/s 3", "0:█4,000 1:▃1,000", "busiest 4,000 packets/s, 0 idle")
}

func TestTopSortsAndFilters(t *testing.T) {
	r := newRelay(t)
	w := watch(t, r, TopOptions{Backend: "origin-a"})
	const streams = "/api/v1/streams"
	if q := r.last(streams); q.Get("sort") != "bitrate" || q.Get("backend") != "origin-a" || q.Get("limit") != "124" {
		t.Errorf("asked for %v", q)
	}
	for key, order := range map[string]string{"r": "rtt", "2": "rtt", "l": "loss", "3": "loss", "b": "bitrate", "1": "bitrate", "s": "sessions", "n": "key"} {
		w.keys(key)
		if got := r.last(streams).Get("sort"); got != order {
			t.Errorf("%s sorts by %s, want %s", key, got, order)
		}
		w.sees("by " + order)
	}
	w.keys("/", "f", "o", "q", "x", "backspace", "o")
	w.sees("filter: foqo")
	w.Update(tea.PasteMsg{Content: "\x1bt\nb"})
	w.sees("filter: foqotb")
	if r.last(streams).Has("q") {
		t.Error("asked with a filter that is still being typed")
	}
	w.keys("enter")
	if got := r.last(streams).Get("q"); got != "foqotb" {
		t.Errorf("asked for %q", got)
	}
	w.sees(`with "foqotb"`)
	w.keys("/", "z", "esc")
	w.sees(`with "foqotb"`)
	w.keys("esc")
	if r.last(streams).Has("q") {
		t.Error("Esc leaves the filter")
	}
	w.keys("/", "p")
	if w.paused {
		t.Error("a typed p pauses")
	}
}

// The cursor stays with its stream while the streams change places, but on the
// first row with the first.
func TestTopCursor(t *testing.T) {
	r := newRelay(t)
	w := watch(t, r, TopOptions{})
	list := fixture[answer.StreamList](t, "streams")
	w.keys("j", "down", "k", "j")
	if w.cursor.at != 2 {
		t.Fatalf("cursor at %d", w.cursor.at)
	}
	list.Streams[0], list.Streams[2] = list.Streams[2], list.Streams[0]
	r.replace(t, "/api/v1/streams", list)
	w.refresh()
	if w.cursor.at != 0 {
		t.Errorf("cursor at %d, its stream is at 0", w.cursor.at)
	}
	list.Streams[0], list.Streams[2] = list.Streams[2], list.Streams[0]
	r.replace(t, "/api/v1/streams", list)
	w.refresh()
	if w.cursor.at != 0 {
		t.Errorf("cursor at %d, it stood on the first row", w.cursor.at)
	}
	w.keys("G")
	if w.cursor.at != 3 {
		t.Errorf("cursor at %d after G", w.cursor.at)
	}
	list.Streams = list.Streams[:1]
	r.replace(t, "/api/v1/streams", list)
	w.refresh()
	if w.cursor.at != 0 {
		t.Errorf("cursor at %d of one stream", w.cursor.at)
	}
	list.Streams, list.Total = nil, 0
	r.replace(t, "/api/v1/streams", list)
	w.refresh()
	w.keys("enter", "j", "g")
	w.sees("no streams")
}

// A long list is asked for as far as it is scrolled, and a bit more.
func TestTopScrolls(t *testing.T) {
	r := newRelay(t)
	list := answer.StreamList{Total: 5000}
	for i := range 1000 {
		list.Streams = append(list.Streams, answer.Stream{Key: fmt.Sprintf("v/live/%04d", i)})
	}
	r.replace(t, "/api/v1/streams", list)
	w := watch(t, r, TopOptions{})
	w.sees("streams 1 to 13 of 5,000", "0012", "not", "0013")
	w.keys("pgdown", "j")
	w.sees("0013", "not", "0000")
	w.keys("G")
	w.refresh()
	w.sees("streams 988 to 1000 of 5,000, by bitrate (the first 1000)", "0999")
	if got := r.last("/api/v1/streams").Get("limit"); got != "1000" {
		t.Errorf("asked for %s streams", got)
	}
	w.keys("k")
	w.sees("0999")
}

// A session's text stays where it was scrolled to when the next answer comes.
func TestTopSessionStaysScrolled(t *testing.T) {
	w := watch(t, newRelay(t), TopOptions{})
	w.keys("enter", "enter")
	w.sees("measured", "not", "link capacity")
	w.keys("G")
	w.sees("link capacity")
	w.refresh()
	w.sees("link capacity")
	w.keys("g")
	w.refresh()
	w.sees("measured", "not", "link capacity")
}

func TestTopSurvivesTheRelay(t *testing.T) {
	r := newRelay(t)
	w := watch(t, r, TopOptions{})
	w.refresh()
	w.sees("live 03:04:07", "v1.2.3")
	r.setAway(true)
	w.refresh()
	w.sees("relay away for 0 s", "retrying", "football")
	w.refresh()
	w.sees("relay away for 1 s")
	r.setAway(false)
	w.refresh()
	w.sees("connected again", "football", "not", "restarted")
	for range 10 {
		w.refresh()
	}
	w.sees("live", "not", "connected again")
	// Counters that begin anew are a restart, and no speed.
	shards := fixture[answer.ShardList](t, "shards")
	shards.Total.Packets = 3
	r.replace(t, "/api/v1/shards", shards)
	w.refresh()
	w.sees("relay restarted, connected again", "packets/s –")
}

func TestTopPauses(t *testing.T) {
	w := watch(t, newRelay(t), TopOptions{})
	w.keys("p")
	w.sees("paused")
	before := w.asked
	w.Update(tick(takenAt))
	if w.asked != before {
		t.Error("asks while paused")
	}
	w.keys("space")
	w.sees("live")
	if w.asked == before {
		t.Error("does not ask when it goes on")
	}
}

// An answer to what is no longer asked must not show up, nor a question be
// put while one is open.
func TestTopIgnoresLateAnswers(t *testing.T) {
	w := watch(t, newRelay(t), TopOptions{})
	late := w.query()
	before := w.asked
	w.Update(tick(takenAt))
	if w.asked != before {
		t.Error("asks again before the answer")
	}
	w.keys("enter")
	shown := w.view.at
	w.Update(late())
	if w.view.at != shown || w.open {
		t.Error("a late answer was taken")
	}
}

func TestTopShowsWhatIsGone(t *testing.T) {
	r := newRelay(t)
	w := watch(t, r, TopOptions{})
	w.keys("enter", "enter")
	w.sees("CALLER LEG", "BACKEND LEG", "24.1 ms")
	r.mu.Lock()
	r.replaced["/api/v1/sessions/0-17-42"] = `{"code":404,"error":"no such session"}`
	r.replaced["/api/v1/streams/one"] = `{"code":404,"error":"no such stream"}`
	r.mu.Unlock()
	w.refresh()
	w.refresh()
	w.sees("the session has ended", "24.1 ms", "not", "relay away")
	w.keys("esc")
	w.sees("the stream has ended", "football")
	w.keys("esc")
	w.sees("streams 1 to 4 of 1,011", "not", "has ended")
}

func TestTopQuits(t *testing.T) {
	w := watch(t, newRelay(t), TopOptions{})
	for _, key := range []tea.KeyPressMsg{{Text: "q", Code: 'q'}, {Code: 'c', Mod: tea.ModCtrl}} {
		_, command := w.Update(key)
		if command == nil {
			t.Fatalf("%v does not quit", key)
		}
		if _, ok := command().(tea.QuitMsg); !ok {
			t.Errorf("%v does not quit", key)
		}
	}
}

// How long an answer is under way does not change a rate.
func TestRatesAreByTheRelaysClock(t *testing.T) {
	var before, after sample
	before.at, before.shards.TakenAt = takenAt, takenAt
	after.at, after.shards.TakenAt = takenAt.Add(1900*time.Millisecond), takenAt.Add(time.Second)
	after.shards.Total.Bytes = 1000
	if s := speedOf(before, after); !s.known || s.bits != 8000 {
		t.Errorf("%+v, want 8000 bit/s", s)
	}
}
