package web

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/api/answer"
)

// A relay that goes away is said to be away; when it is back, as another
// process, the page lives again by itself, and so does its feed.
func TestRelayRestart(t *testing.T) {
	r := startRelay(t, 10)
	r.tell(answer.Event{Kind: "rules-changed", Cause: "first"})
	p := overview(t, r)
	p.await(`document.querySelectorAll("#events .event").length === 1`)
	r.stop()
	p.await(`document.body.dataset.state === "away" && document.querySelector("#status-text").textContent === "relay away, retrying" && !document.querySelector("#retry").hidden`)
	p.picture("away")
	if rows := len(p.texts("#streams .grid-body .key")); rows != 10 {
		t.Errorf("%d of 10 streams are left to look at while the relay is away", rows)
	}
	r.change(func() { r.streams = 7 })
	r.restart()
	p.live()
	p.await(`document.querySelector("#streams-count").textContent === "7" && document.querySelectorAll("#streams .grid-body .grid-row:not([hidden])").length === 7`)
	p.await(`document.querySelector('#events [data-kind="relay-restarted"]')`)
	p.await(fmt.Sprintf(`fetch(%q)`, r.server.URL)) // the new server serves the page too
	r.tell(answer.Event{Kind: "rules-changed", Cause: "second"})
	p.await(`[...document.querySelectorAll("#events .detail")].some(e => e.textContent === "second")`)
	if again := strings.Count(strings.Join(p.texts("#events .detail"), ","), "first"); again != 1 {
		t.Errorf("the event from before the restart is told %d times", again)
	}
}

func TestRelayThatRefuses(t *testing.T) {
	r := startRelay(t, 3)
	p := overview(t, r)
	r.change(func() { r.failing = "too many calls at once" })
	p.await(`document.querySelector("#status-text").textContent === "relay says: too many calls at once"`)
	r.change(func() { r.failing = "" })
	p.click("#retry")
	p.live()
}

// A hidden tab asks nothing, and hears what it missed when it is seen again.
func TestHiddenTabRests(t *testing.T) {
	r := startRelay(t, 3)
	r.tell(answer.Event{Kind: "rules-changed", Cause: "at first"})
	p := overview(t, r)
	p.await(`document.querySelectorAll("#events .event").length === 1`)
	const hide = `Object.defineProperty(document, "hidden", {value: %t, configurable: true}); document.dispatchEvent(new Event("visibilitychange")); 1`
	read[int](p, fmt.Sprintf(hide, true))
	p.await(`document.body.dataset.state === "paused"`)
	// What was under way when the tab was hidden has reached the relay once the
	// page's own next request has.
	readLater[int](p, `fetch("api/v1/versions").then(r => r.status)`)
	asked := 0
	r.change(func() { asked = len(r.asked) })
	p.await(`(window.frames1 = (window.frames1 ?? 0) + 1) > 150`) // more than two beats
	r.change(func() {
		if len(r.asked) != asked || len(r.readers) != 0 {
			t.Errorf("a hidden tab asked %d times, and listens %d times", len(r.asked)-asked, len(r.readers))
		}
	})
	r.tell(answer.Event{Kind: "rules-changed", Cause: "while hidden"})
	read[int](p, fmt.Sprintf(hide, false))
	p.live()
	p.await(`[...document.querySelectorAll("#events .detail")].some(e => e.textContent === "while hidden")`)
	r.change(func() {
		if want := []string{"0", "1"}; !slices.Equal(r.after, want) {
			t.Errorf("asked for the events after %q, want %q", r.after, want)
		}
	})
}

func TestEventFeed(t *testing.T) {
	r := startRelay(t, 3)
	tellSome(r)
	p := overview(t, r)
	p.await(fmt.Sprintf(`document.querySelectorAll("#events .event").length === %d`, len(r.events)))
	if kinds := p.texts(`#events .event[data-kind="caller-rejected"] .detail`); len(kinds) != 1 || kinds[0] != "1403 forbidden · 203.0.113.9:51512" {
		t.Errorf("a rejection reads %q", kinds)
	}
	p.click(`#events .chip[data-kind="begun"]`)
	p.await(fmt.Sprintf(`document.querySelectorAll("#events .event").length === %d && !document.querySelector('#events .event[data-kind="session-begun"]')`, len(r.events)-2))
	p.click(`#events .chip[data-kind="begun"]`)
	r.repeat()
	r.tell(answer.Event{Kind: "backend-removed", Backend: "origin-d"})
	p.await(`document.querySelector('#events [data-kind="backend-removed"]')`)
	if told := len(p.texts(`#events [data-kind="more-rejected"]`)); told != 1 {
		t.Errorf("a repeated event is shown %d times", told)
	}
	for range 500 {
		r.tell(answer.Event{Kind: "session-ended", Stream: `<img src=x onerror=alert(1)>`, Role: "player", Cause: "idle"})
	}
	p.await(`document.querySelectorAll("#events .event").length === 150`)
	p.await(`document.querySelector("#events .event .of").textContent === "<img src=x onerror=alert(1)>" && !document.querySelector("#events img")`)
	// A stream's page tells its own events only.
	key := streamAt(2, 0, 0).Key
	read[int](p, fmt.Sprintf(`location.hash = "#/stream/%s"; 1`, key))
	p.await(`document.querySelectorAll("#stream-events .event").length === 3`)
	p.clean()
}

// Two events of one second, and of two days, can be told apart.
func TestEventsHaveTheirTime(t *testing.T) {
	r := startRelay(t, 1)
	at := time.Date(2026, 5, 4, 12, 0, 5, 0, time.Local)
	r.tell(answer.Event{Kind: "rules-changed", Time: at.AddDate(0, 0, -1)})
	r.tell(answer.Event{Kind: "rules-changed", Time: at.Add(7 * time.Millisecond)})
	r.tell(answer.Event{Kind: "rules-changed", Time: at.Add(251 * time.Millisecond)})
	p := overview(t, r)
	p.await(`document.querySelectorAll("#events .event").length === 3`)
	want := []string{"2026-05-04", "12:00:05.251", "12:00:05.007", "2026-05-03", "12:00:05.000"}
	if got := p.texts("#events .day, #events time"); !slices.Equal(got, want) {
		t.Errorf("times %q, want %q", got, want)
	}
}
