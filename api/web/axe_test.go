package web

import (
	"net/url"
	"os"
	"testing"

	"github.com/chromedp/chromedp"
)

// violation is a rule of axe that an element breaks.
type violation struct{ ID, Impact, Help, Target, Summary string }

// loadAxe loads axe-core into the page. testdata/axe holds it, so that the test needs no
// network.
func (p *tab) loadAxe() {
	p.t.Helper()
	library, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		p.t.Fatal(err)
	}
	p.do(chromedp.Evaluate[chromedp.Void](string(library) + ";0"))
}

// check runs axe-core over what the tab shows, once it is drawn and no colour is on its
// way to another.
func (p *tab) check(how string) {
	p.t.Helper()
	p.frames(5)
	p.await(`document.getAnimations().length === 0`)
	found := readLater[[]violation](p, `axe.run(document, {resultTypes: ["violations"]}).then(all => all.violations.flatMap(v =>
		v.nodes.map(n => ({id: v.id, impact: v.impact, help: v.help, target: n.target.join(" "), summary: n.failureSummary}))))`)
	for _, v := range found {
		p.t.Errorf("%s: %s (%s): %s: %s\n%s", how, v.ID, v.Impact, v.Help, v.Target, v.Summary)
	}
}

// axe-core finds nothing on any view, light and dark, wide and narrow.
func TestAxeFindsNothing(t *testing.T) {
	for view, page := range map[string]struct{ address, ready string }{
		"overview": {"/", `document.querySelectorAll(".event").length > 5 && document.querySelectorAll("button.backend").length === 4`},
		"stream":   {"/#/stream/" + url.PathEscape(streamAt(2, 0, 0).Key), "true"},
		"session":  {"/#/session/2-200-1", "true"},
		"relays":   {"/#/relays", `document.querySelectorAll("#places tbody tr").length > 5`},
	} {
		t.Run(view, func(t *testing.T) {
			t.Parallel()
			r := startRelay(t, 48)
			tellSome(r)
			r.relays = relaysAt(true)
			r.ready = readiness{Reason: "no backend can take a stream: origin-a is down"}
			p := openTab(t, r.server.URL+page.address, 1440, 900, "light")
			p.live()
			p.await(`document.querySelector("#alarms .alarm")`)
			p.await(page.ready)
			p.loadAxe()
			p.check("light, 1440 wide")
			p.prefer("dark")
			p.check("dark, 1440 wide")
			p.resize(390, 900)
			p.check("dark, 390 wide")
		})
	}
}

// The dialog is as good as the page.
func TestAxeFindsNothingInTheDialog(t *testing.T) {
	r := startRelay(t, 5)
	r.token = "secret"
	p := openClosing(t, r, sessionsOf(2, 0)[0].ID)
	p.loadAxe()
	p.check("the dialog")
}
