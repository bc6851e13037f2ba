package web

import (
	"net/url"
	"testing"
	"time"

	"srtrelay/api/answer"
)

// tellSome fills the feed with one event of each sort.
func tellSome(r *fakeRelay) {
	zero := 0
	key := streamAt(2, 0, 0).Key
	for _, e := range []answer.Event{
		{Kind: "rules-changed", Cause: "3 rules read"},
		{Kind: "backend-registered", Backend: "origin-b", Address: "10.0.3.12:10080"},
		{Kind: "session-begun", Session: "2-200-1", Stream: key, Role: "publisher", Caller: "198.51.100.10:40062", Backend: "origin-c", TookMillis: 31.4, Shard: &zero},
		{Kind: "caller-rejected", Stream: "__defaultVhost__/live/unknown", Caller: "203.0.113.9:51512", Code: 1403, Reason: "forbidden"},
		{Kind: "session-begun", Session: "2-201-1", Stream: key, Role: "player", Caller: "198.51.100.11:40063", Backend: "origin-c", TookMillis: 44.8, Shard: &zero},
		{Kind: "session-ended", Session: "2-209-1", Stream: key, Role: "player", Caller: "198.51.100.19:40071", Backend: "origin-c", Cause: "caller", TookMillis: 93_000},
		{Kind: "backend-changed", Backend: "origin-c", Cause: "draining"},
		{Kind: "backend-gone", Backend: "origin-d", Address: "10.0.3.14:10080", Cause: "nobody listens there"},
		{Kind: "more-rejected", Lost: 1200},
	} {
		e.Time = time.Now().Add(-time.Duration(20-len(r.events)) * 7 * time.Second)
		r.tell(e)
	}
}

// The page as it looks, light and dark, at four widths. What it looks like
// is for eyes; that nothing overflows, shifts or is refused is tested.
func TestLooks(t *testing.T) {
	for _, screen := range []struct {
		name          string
		width, height int64
	}{{"desktop", 1440, 900}, {"laptop", 1024, 768}, {"tablet", 800, 1100}, {"phone", 390, 844}} {
		for _, view := range []struct{ name, address, ready string }{
			{"overview", "/", `document.querySelectorAll(".event").length > 5`},
			{"stream", "/#/stream/" + url.PathEscape(streamAt(2, 0, 0).Key), `document.querySelector("#stream-charts .plot path.line").getAttribute("d").length > 100`},
			{"relays", "/#/relays", `document.querySelectorAll("#places tbody tr").length > 5`},
			{"session", "/#/session/2-200-1", `document.querySelector("#session-about").textContent.includes("established")`},
		} {
			t.Run(view.name+"-"+screen.name, func(t *testing.T) {
				t.Parallel()
				r := startRelay(t, 48)
				r.lives, r.relays = true, relaysAt(false)
				tellSome(r)
				p := openTab(t, r.server.URL+view.address, screen.width, screen.height, "light")
				p.live()
				p.await(view.ready)
				for _, scheme := range []string{"light", "dark"} {
					p.prefer(scheme)
					read[int](p, "scrollTo(0, 0); 1")
					p.settle()
					p.picture(view.name + "-" + screen.name + "-" + scheme)
					read[int](p, "scrollTo(0, 1e6); 1")
					p.picture(view.name + "-" + screen.name + "-" + scheme + "-end")
					if wide := read[int64](p, "document.documentElement.scrollWidth"); wide > screen.width {
						t.Errorf("%s: %d wide on a screen of %d", scheme, wide, screen.width)
					}
					if shifted := read[float64](p, "shifted"); shifted > 0.1 {
						t.Errorf("%s: the layout shifts by %.3f", scheme, shifted)
					}
				}
				p.clean()
			})
		}
	}
}

func TestDarkIsDark(t *testing.T) {
	r := startRelay(t, 4)
	p := overview(t, r)
	for scheme, want := range map[string]bool{"light": false, "dark": true} {
		p.prefer(scheme)
		light := read[float64](p, `getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 765`)
		if (light < 0.5) != want {
			t.Errorf("%s: the page's background has a lightness of %.2f", scheme, light)
		}
	}
}
