package web

import (
	"fmt"
	"net/url"
	"os"
	"testing"

	"github.com/chromedp/chromedp"
)

// violation is a rule of axe that an element breaks.
type violation struct{ ID, Impact, Help, Target, Summary string }

// check runs axe-core over what the tab shows. testdata/axe holds the library, so that
// the test needs no network.
func (p *tab) check() {
	p.t.Helper()
	library, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		p.t.Fatal(err)
	}
	p.do(chromedp.Evaluate[chromedp.Void](string(library) + ";0"))
	found := readLater[[]violation](p, `axe.run(document, {resultTypes: ["violations"]}).then(all => all.violations.flatMap(v =>
		v.nodes.map(n => ({id: v.id, impact: v.impact, help: v.help, target: n.target.join(" "), summary: n.failureSummary}))))`)
	for _, v := range found {
		p.t.Errorf("%s (%s): %s: %s\n%s", v.ID, v.Impact, v.Help, v.Target, v.Summary)
	}
}

// axe-core finds nothing on any view, light and dark, wide and narrow.
func TestAxeFindsNothing(t *testing.T) {
	r := startRelay(t, 48)
	tellSome(r)
	r.relays = relaysAt(true)
	r.ready = readiness{Reason: "no backend can take a stream: origin-a is down"}
	for _, screen := range []struct {
		scheme string
		width  int64
	}{{"light", 1440}, {"dark", 1440}, {"dark", 390}} {
		for view, address := range map[string]string{
			"overview": "/", "stream": "/#/stream/" + url.PathEscape(streamAt(2, 0, 0).Key), "session": "/#/session/2-200-1", "relays": "/#/relays",
		} {
			t.Run(fmt.Sprintf("%s-%s-%d", view, screen.scheme, screen.width), func(t *testing.T) {
				p := openTab(t, r.server.URL+address, screen.width, 900, screen.scheme)
				p.live()
				p.await(`document.querySelector("#alarms .alarm")`)
				if view == "overview" {
					p.await(`document.querySelectorAll(".event").length > 5 && document.querySelectorAll("button.backend").length === 4`)
				}
				if view == "relays" {
					p.await(`document.querySelectorAll("#places tbody tr").length > 5`)
				}
				p.check()
			})
		}
	}
}

// The dialog is as good as the page.
func TestAxeFindsNothingInTheDialog(t *testing.T) {
	r := startRelay(t, 5)
	r.token = "secret"
	p := openClosing(t, r, sessionsOf(2, 0)[0].ID)
	p.check()
}
