package web

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// activeRow is the number of the row that the keyboard stands on, from 1.
const activeRow = `Number(document.getElementById(document.querySelector("#streams").getAttribute("aria-activedescendant"))?.ariaRowIndex ?? 1) - 1`

func (p *tab) awaitActive(row string) {
	p.t.Helper()
	p.await(activeRow + " === " + row)
	p.await(`document.querySelectorAll('#streams [aria-selected="true"]').length === 1`)
}

func TestKeyboard(t *testing.T) {
	r := startRelay(t, 300)
	p := overview(t, r)
	want := r.expected("bitrate", "", "")
	p.awaitRows(want)
	p.do(chromedp.Focus(chromedp.CSS("#streams")))
	p.press(kb.ArrowDown)
	p.awaitActive("1")
	p.press(kb.ArrowDown, kb.ArrowDown, kb.ArrowUp)
	p.awaitActive("2")
	p.press(kb.End)
	p.awaitActive("300")
	p.await(`(r => r && !r.classList.contains("waiting") && r.querySelector(".key").title === "` + want[299].Key + `")(document.querySelector('#streams [aria-selected="true"]'))`)
	p.await(`(row => { const b = row.getBoundingClientRect(), g = document.querySelector("#streams").getBoundingClientRect(); return b.top >= g.top && b.bottom <= g.bottom + 1 })(document.querySelector('#streams [aria-selected="true"]'))`)
	p.press(kb.PageUp)
	p.await(activeRow + " < 295 && " + activeRow + " > 250")
	p.press(kb.Home)
	p.awaitActive("1")
	p.press(kb.ArrowDown)
	p.awaitActive("2")
	p.press(kb.Enter)
	p.await(`location.hash === "#/stream/` + want[1].Key + `" && document.activeElement.id === "stream-title" && document.querySelector("#stream-parts").checkVisibility()`)
	p.press(kb.Escape)
	p.await(`document.querySelector("#overview").checkVisibility() && document.activeElement.id === "streams"`)
	p.awaitActive("2")

	p.press("/")
	p.await(`document.activeElement.id === "filter"`)
	p.press("v", "a", "n")
	filtered := r.expected("bitrate", "van", "")
	p.awaitRows(filtered)
	p.press(kb.ArrowDown)
	p.await(`document.activeElement.id === "streams"`)
	p.awaitActive("1")
	p.press(kb.Enter)
	p.await(`location.hash === "#/stream/` + filtered[0].Key + `" && document.activeElement.id === "stream-title"`)
	p.press("/")
	p.await(`document.activeElement.id === "filter" && document.querySelector("#overview").checkVisibility()`)
	p.press(kb.Escape)
	p.await(`document.querySelector("#filter").value === ""`)
	p.awaitRows(want)
	p.clean()
}

// Tab reaches everything that a mouse does, in the order of the page, and
// what has the focus is seen to have it.
func TestTabOrder(t *testing.T) {
	p := overview(t, startRelay(t, 20))
	p.await(`document.querySelectorAll("button.backend").length === 4`)
	var order []string
	for range 30 {
		p.press(kb.Tab)
		at := read[[2]string](p, `(e => [e.id || e.className || e.tagName, String(e.tagName === "BODY" || e.matches(":focus-visible") && getComputedStyle(e).outlineStyle !== "none")])(document.activeElement)`)
		if at[1] != "true" {
			t.Errorf("%s has the focus and does not show it", at[0])
		}
		if order = append(order, at[0]); at[0] == "BODY" {
			break
		}
	}
	place := -1
	for _, want := range []string{"skip", "brand", "filter", "streams", "sort", "backend", "chip", "events"} {
		next := -1
		for i := place + 1; i < len(order); i++ {
			if order[i] == want {
				next = i
				break
			}
		}
		if next < 0 {
			t.Fatalf("%s is not reached after %d in %q", want, place, order)
		}
		place = next
	}
}

// Enter on a row that the relay has not told yet opens it when it comes.
func TestEnterBeforeTheRowIsThere(t *testing.T) {
	r := startRelay(t, 300)
	p := overview(t, r)
	want := r.expected("bitrate", "", "")
	p.awaitRows(want)
	p.do(chromedp.Focus(chromedp.CSS("#streams")))
	r.change(func() { p.press(kb.End, kb.Enter) }) // the relay does not answer meanwhile
	p.await(`location.hash === "#/stream/` + want[299].Key + `"`)
}

// The active row stays on its stream when the order changes.
func TestActiveRowFollowsItsStream(t *testing.T) {
	r := startRelay(t, 40)
	p := overview(t, r)
	p.awaitRows(r.expected("bitrate", "", ""))
	p.do(chromedp.Focus(chromedp.CSS("#streams")))
	p.press(kb.ArrowDown, kb.ArrowDown, kb.ArrowDown)
	p.awaitActive("3")
	const key = `document.querySelector('#streams [aria-selected="true"] .key').title`
	before := read[string](p, key)
	p.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#streams .c-sessions .sort").click()`))
	want := r.expected("sessions", "", "")
	p.awaitRows(want)
	if after := read[string](p, key); after != before {
		t.Errorf("the active row went from %s to %s", before, after)
	}
}
