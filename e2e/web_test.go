//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// browserTab is the relay's page in a real Chromium.
type browserTab struct {
	t   *testing.T
	ctx context.Context
}

// recorder keeps the page's last answer from each call, before the page reads
// it, and what the page's policy refused.
const recorder = `window.said = {}; window.refusals = [];
document.addEventListener("securitypolicyviolation", e => refusals.push(e.violatedDirective + " " + e.blockedURI));
const plain = window.fetch;
window.fetch = async (...call) => {
	const answer = await plain(...call);
	try { said[new URL(answer.url).pathname] = (await answer.clone().json()).data; } catch {}
	return answer;
};`

func openBrowser(t *testing.T, address string) *browserTab {
	t.Helper()
	b := openTab(t, address)
	b.do(chromedp.Evaluate[chromedp.Void](`import("/ui/numbers.js").then(n => { window.numbers = n; })`, chromedp.EvalAwaitPromise))
	b.await(`document.body.dataset.state === "live"`)
	return b
}

// openTab is openBrowser for an address that may show anything.
func openTab(t *testing.T, address string) *browserTab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(need.Browser(t)), chromedp.WindowSize(1440, 900))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's sandbox refuses root
	}
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, end := chromedp.NewContext(allocator)
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	if _, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: recorder}); err != nil {
		t.Fatal(err)
	}
	b := &browserTab{t, ctx}
	b.do(chromedp.EmulateViewport(1440, 900), chromedp.Navigate(address))
	return b
}

func (b *browserTab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// pageGone reports whether an expression was not answered because the tab has gone on to another
// page.
func pageGone(err error) bool {
	const serverError = -32000 // of JSON-RPC: Chromium has no other code for it
	answer, ok := errors.AsType[*cdproto.Error](err)
	return ok && answer.Code == serverError
}

// await waits until an expression is true, of the page that the tab is on then.
func (b *browserTab) await(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*patience)
	defer cancel()
	poll := chromedp.Poll[chromedp.Void]("!!("+expression+")", chromedp.WithPollingTimeout(patience))
	err := chromedp.Do(ctx, poll)
	for pageGone(err) {
		err = chromedp.Do(ctx, poll)
	}
	if err != nil {
		text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText + JSON.stringify(said)`))
		b.t.Fatalf("waited for %s: %v\n%.3000s", expression, err, text)
	}
}

// The page of a running relay, with a real stream whose publisher has a bad
// network: it says so, and every number is the one that the API gave. A session
// is closed from it, and it comes back to a relay that was restarted.
func TestWebPageOfARelay(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, "127.0.0.1")
	r := startRelay(t, "--backend", "srt://"+o.addr.String(), "--shards", "2")
	bad := srttest.Impairment{Loss: 0.06, Delay: 15 * time.Millisecond}
	link, err := srttest.NewLink(srttest.LinkConfig{Listen: loopback, Target: r.addr, Up: bad, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	publisher := livePublish(t, link.Addr(), "live/web", "latency=400")
	player := livePlay(t, r, "live/web", "latency=400")
	fed := make(chan error, 1)
	go func() { fed <- publisher.feed(noise(1, 60_000), 3*patience) }()
	defer func() {
		player.stop()
		publisher.stop()
		<-fed // ends with an error when its publisher has gone
	}()

	b := openBrowser(t, r.api+"/")
	b.await(`(() => {
		const list = said["/api/v1/streams"], row = document.querySelector("#streams .grid-body .grid-row:not([hidden], .waiting)");
		if (list?.total !== 1 || !row || !(list.streams[0].caller_loss_percent > 0)) return false;
		const s = list.streams[0], text = q => row.querySelector(q).textContent, n = numbers;
		return row.querySelector(".key").title === s.key && text(".c-backend") === s.backend.id && text(".c-sessions") === "2" && s.history.bitrate_in_bps.length > 0 &&
			text(".c-bitrate .pair") === n.bitrate(s.bitrate_in_bps) + " / " + n.bitrate(s.bitrate_out_bps) &&
			text(".c-rtt .pair") === n.millis(s.caller_rtt_ms) + " / " + n.millis(s.backend_rtt_ms) &&
			text(".c-loss .pair") === n.percent(s.caller_loss_percent) + " / " + n.percent(s.backend_loss_percent);
	})()`)
	b.await(`document.querySelector("#total-sessions").textContent === numbers.count(said["/api/v1/shards"].total.sessions) &&
		document.querySelector(".backend .rate").textContent === numbers.bitrate(said["/api/v1/backends"].backends[0].bitrate_bps)`)
	b.await(`document.querySelectorAll('#events [data-kind="session-begun"]').length === 2`)

	// The backend is drained, and gets streams again.
	b.await(`document.title.endsWith(" – srtrelay") && document.querySelector("#relay-name").textContent !== "" && document.querySelector("#alarms").hidden`)
	for _, word := range []string{"draining", "alive"} {
		b.do(chromedp.Click(chromedp.CSS("#backends .drain")), chromedp.Click(chromedp.CSS("dialog[open] .danger")))
		b.await(`!document.querySelector("dialog[open]") && document.querySelector(".backend .health").textContent === "` + word + `" && document.querySelector("#alarms").hidden === ` + fmt.Sprint(word == "alive"))
	}

	b.do(chromedp.Click(chromedp.CSS("#streams .grid-body .key")))
	b.await(`(() => {
		const s = said["/api/v1/streams/one"], n = numbers, texts = q => [...document.querySelectorAll(q)].map(e => e.textContent).join();
		return s?.session_list.length === 2 && s.history.bitrate_in_bps.length > 2 && document.querySelector("#stream-charts .plot path.in").getAttribute("d").length > 20 &&
			texts("#stream-legs .leg b") === [n.percent(s.caller_loss_percent), n.millis(s.caller_rtt_ms), n.percent(s.backend_loss_percent), n.millis(s.backend_rtt_ms)].join() &&
			/^It is (mostly )?the caller's network in (1 of|all) 2 sessions: it loses /.test(document.querySelector("#stream-legs .verdict").textContent) &&
			document.querySelector("#stream-legs .verdict").textContent.includes(" loses " + n.percent(s.caller_loss_percent));
	})()`)

	// The session of the player is closed; its tool ends.
	b.do(chromedp.Evaluate[chromedp.Void](`[...document.querySelectorAll("#stream-sessions .grid-row:not([hidden])")].find(r => r.textContent.startsWith("player")).querySelector(".key").click()`))
	b.await(`document.querySelector("#session-title").textContent.startsWith("Player") && (way => way[0].children[2].textContent === numbers.bitrate(said["/api/v1/sessions/" + location.hash.split("/")[2]].to_caller.bitrate_bps))(document.querySelectorAll(".ways tbody tr"))`)
	b.do(chromedp.Click(chromedp.CSS("#session-close")), chromedp.Click(chromedp.CSS("dialog .danger")))
	select {
	case <-player.done:
	case <-time.After(patience):
		t.Error("the player goes on after its session was closed")
	}
	b.await(`!document.querySelector("#session-gone").hidden || document.querySelector("#session-about").textContent.includes("kicked")`)
	b.do(chromedp.Evaluate[chromedp.Void](`location.hash = "#/"`))
	b.await(`[...document.querySelectorAll('#events [data-kind="session-ended"] .detail')].some(e => e.textContent.includes("kicked"))`)

	r.signal(os.Interrupt)
	r.awaitExit()
	b.await(`document.body.dataset.state === "away"`)
	startRelay(t, "--backend", "srt://"+o.addr.String(), "--api", strings.TrimPrefix(r.api, "http://"))
	b.await(`document.body.dataset.state === "live" && document.querySelector('#events [data-kind="relay-restarted"]')`)
	refused, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string]("refusals"))
	if err != nil || fmt.Sprint(refused) != "[]" {
		t.Errorf("refused: %v, %v", refused, err)
	}
}
