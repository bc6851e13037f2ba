//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"srtrelay/internal/srttest"
)

// live is true when the page shows the one stream, and asks for nothing.
const live = `document.body?.dataset.state === "live" && document.querySelector("#total-streams").textContent === "1" && !document.querySelector("dialog[open]")`

// The page of a relay that asks readers for a token: somebody logs in, with one that only
// reads, and with the other one for what changes something. No script sees the cookie, and
// a link with the token, also one on another site, leads to the page without it.
func TestWebPageLogsIn(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()), "--register-token", "correct-horse", "--read-token", "battery-staple")
	r.strict = false // its counters are asked for without a token
	s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/a,m=publish"})
	f := keepFlowing(t, s)
	defer func() {
		close(f.stopped)
		f.sending.Wait()
	}()

	b := openTab(t, r.api+"/")
	b.await(`document.activeElement.id === "login-token"`)
	b.enter("#login-token", "battery-staple")
	b.await(live + ` && document.cookie === ""`)
	b.do(chromedp.Reload())
	b.await(live)

	// Whoever only reads sees no socket IDs, and has to log in anew to close a session.
	b.do(chromedp.Evaluate[chromedp.Void](`fetch("/api/v1/sessions").then(a => a.json()).then(a => { location.hash = "#/session/" + a.data.sessions[0].id; })`, chromedp.EvalAwaitPromise))
	b.await(`document.querySelector("#session-title").textContent.startsWith("Publisher") && document.body.innerText.includes("only with the token")`)
	b.do(chromedp.Click(chromedp.CSS("#session-close")))
	b.await(`document.activeElement.textContent === "Keep it"`)
	b.do(chromedp.Click(chromedp.CSS("dialog[open] .danger")))
	b.await(`document.activeElement.id === "token"`)
	b.enter("#token", "correct-horse")
	b.await(`!document.querySelector("dialog[open]") && !document.querySelector("#session-gone").hidden`)

	again := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/a,m=publish"})
	g := keepFlowing(t, again)
	defer func() {
		close(g.stopped)
		g.sending.Wait()
	}()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `<a id="relay" href="%s/?token=battery-staple">the relay</a>`, r.api)
	}))
	defer elsewhere.Close()
	if _, err := chromedp.Call(b.ctx, network.ClearBrowserCookies, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	// localhost is another site than 127.0.0.1.
	b.do(chromedp.Navigate(strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)), chromedp.Click(chromedp.CSS("#relay")))
	b.await(live + ` && location.search === "" && !location.href.includes("battery") && document.cookie === ""`)
	if log := r.tail(); strings.Contains(log, "battery") || strings.Contains(log, "horse") {
		t.Errorf("a token is logged:\n%s", log)
	}
}

// enter types into a field, and Enter when all of it is there.
func (b *browserTab) enter(field, text string) {
	b.t.Helper()
	b.do(chromedp.SendKeys(chromedp.CSS(field), text))
	b.await(fmt.Sprintf(`document.querySelector(%q).value === %q`, field, text))
	b.do(chromedp.SendKeys(chromedp.CSS(field), kb.Enter))
}
