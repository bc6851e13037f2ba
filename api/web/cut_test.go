package web

import (
	"fmt"
	"net/url"
	"testing"

	"srtrelay/api/answer"
)

// cut finds what is wider than the room that it has, of all that shows a unit, a port or
// a figure.
const cut = `[...document.querySelectorAll(".pair, .port, .c-sessions, .cell.s-rate, .cell.s-rtt, .cell.s-age, .cell.s-again, .cell.s-dropped, .rate, .health, .detail, .load, .sessions, " +
		".mark, .number, .value, .place > *, .leg b, .facts dd, .facts dt, dd, time, .tally, .when, #version, #status-text, .said, .chip, .drain, .alarm, .heading p, .verdict, h1, h2")]
	.filter(e => e.checkVisibility() && e.textContent !== "" && !e.matches(".hidden-text, .hidden-text *")).flatMap(e => {
		const name = (e.id || e.className || e.tagName) + ": " + e.textContent;
		if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline") return [name];
		const box = e.getBoundingClientRect();
		for (let host = e.parentElement; host; host = host.parentElement) {
			const around = host.getBoundingClientRect();
			if (getComputedStyle(host).overflowX !== "visible" && (box.right > around.right + 1 || box.left < around.left - 1)) return [name + " beyond " + (host.id || host.className)];
		}
		return [];
	})`

// beyond finds what makes the page wider than the window.
const beyond = `document.documentElement.scrollWidth <= innerWidth ? [] : [...document.body.querySelectorAll("*")]
	.filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.id || e.className || e.tagName)`

// The largest figures that there are, whole at every width.
func TestNothingIsCut(t *testing.T) {
	for view, page := range map[string]struct{ address, ready string }{
		"overview": {"/", `document.querySelectorAll(".event").length > 5 && document.querySelectorAll("#streams .grid-body .pair").length > 10`},
		"stream":   {"/#/stream/" + url.PathEscape(streamAt(2, 0, 0).Key), `document.querySelectorAll("#stream-sessions .grid-body .grid-row:not([hidden])").length > 2`},
		"session":  {"/#/session/2-200-1", `document.querySelector("#session-about").textContent.includes("established")`},
	} {
		t.Run(view, func(t *testing.T) {
			t.Parallel()
			r := startRelay(t, 30)
			r.huge, r.lives = true, true
			tellSome(r)
			r.tell(answer.Event{Kind: "session-begun", Session: "2-200-1", Stream: streamAt(2, 0, 0).Key, Role: "publisher", Caller: longAddress, Backend: longAddress, TookMillis: 1034.8})
			p := openTab(t, r.server.URL+page.address, 1440, 900, "light")
			for _, width := range []int64{1440, 1024, 800, 390} {
				p.resize(width, 900)
				p.await(page.ready)
				p.settle()
				for _, what := range read[[]string](p, cut) {
					t.Errorf("%d wide: %s", width, what)
				}
				for _, what := range read[[]string](p, beyond) {
					t.Errorf("%d wide: beyond the window: %s", width, what)
				}
				p.picture(fmt.Sprintf("huge-%s-%d", view, width))
			}
		})
	}
}
