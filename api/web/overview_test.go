package web

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"srtrelay/api/answer"
)

// shownRow is a row of the table of streams, as text.
type shownRow struct{ Key, Backend, Sessions, Bitrate, RTT, Loss string }

// tableRows are the rows of the table in their order.
const tableRows = `[...document.querySelectorAll("#streams .grid-body .grid-row:not([hidden], .waiting)")]
		.sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map(r => ({
			Key: r.querySelector(".key").title, Backend: r.querySelector(".c-backend").textContent, Sessions: r.querySelector(".c-sessions").textContent,
			Bitrate: r.querySelector(".c-bitrate .pair").textContent, RTT: r.querySelector(".c-rtt .pair").textContent, Loss: r.querySelector(".c-loss .pair").textContent}))`

func rowOf(s answer.Stream) shownRow {
	return shownRow{
		Key: s.Key, Backend: s.Backend.ID, Sessions: countText(uint64(s.Sessions)),
		Bitrate: bitrateText(s.BitrateIn) + " / " + bitrateText(s.BitrateOut),
		RTT:     millisText(s.CallerRTT) + " / " + millisText(s.BackendRTT),
		Loss:    percentText(s.CallerLoss) + " / " + percentText(s.BackendLoss),
	}
}

// expected are the rows that the API's answer makes.
func (r *fakeRelay) expected(by, match, backend string) []shownRow {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rows []shownRow
	for _, s := range r.sorted(by, match, backend) {
		rows = append(rows, rowOf(streamAt(s.Publishers, r.second, 0)))
	}
	return rows
}

// awaitRows waits until the table shows the beginning of what is expected, and
// as much of it as there is room for.
func (p *tab) awaitRows(want []shownRow) {
	p.t.Helper()
	text, err := json.Marshal(want)
	if err != nil {
		p.t.Fatal(err)
	}
	p.await(fmt.Sprintf(`((got, want) => got.length >= Math.min(15, want.length) && JSON.stringify(got) === JSON.stringify(want.slice(0, got.length)))(%s, %s)`, tableRows, text))
}

func TestOverviewShowsWhatTheAPISays(t *testing.T) {
	r := startRelay(t, 40)
	p := overview(t, r)
	p.awaitRows(r.expected("bitrate", "", ""))

	list := shardsAt(8, 0)
	for selector, want := range map[string]string{
		"#streams-count": "40", "#total-streams": "40", "#total-sessions": countText(list.Total.Sessions), "#version": "v0.5.0", "#relay-name": "relay-a",
		"#backends-count": "3 of 4 alive", "#shards-count": "8",
	} {
		if got := p.text(selector); got != want {
			t.Errorf("%s is %q, want %q", selector, got, want)
		}
	}
	var sessions []string
	for _, s := range list.Shards {
		sessions = append(sessions, fmt.Sprintf("%d sessions", s.Sessions))
	}
	if got := p.texts(".shard .sessions"); !slices.Equal(got, sessions) {
		t.Errorf("shards' sessions %q, want %q", got, sessions)
	}
	kernel := []string{
		"397 sessions", "attached; left to the shards: 412 handed over", "attached; left to the shards: 12,391 handshakes and SHUTDOWNs, 3 longer than the MTU", "not attached: its packets have no Ethernet header",
		"step telemetry: sessions are not measured; pressure 0.82 by memory", "0.31: 248000 of 800000 sessions", "0.82: 935 of 1024 MiB of cgroup /", "–",
	}
	if got := p.texts("#kernel-path dd"); !slices.Equal(got, kernel) {
		t.Errorf("kernel path %q, want %q", got, kernel)
	}
	var rates, health []string
	for i, b := range backendsAt(0).Backends {
		rates = append(rates, bitrateText(b.Bitrate))
		health = append(health, []string{"alive", "alive", "draining", "down"}[i])
	}
	if got := p.texts(".backend .rate"); !slices.Equal(got, rates) {
		t.Errorf("backends' bitrates %q, want %q", got, rates)
	}
	if got := p.texts(".backend .health"); !slices.Equal(got, health) {
		t.Errorf("backends' health %q, want %q", got, health)
	}
	drops := map[string]string{}
	for _, row := range read[[][2]string](p, `[...document.querySelectorAll(".drops tbody tr")].map(r => [r.querySelector("code").textContent, r.lastChild.textContent])`) {
		drops[row[0]] = row[1]
	}
	want := map[string]string{"kernel_drops": countText(list.Total.KernelDrops)}
	for name, n := range list.Total.Drops {
		if n > 0 {
			want[name] = countText(n)
		}
	}
	if fmt.Sprint(drops) != fmt.Sprint(want) {
		t.Errorf("drops %v, want %v", drops, want)
	}
	p.clean()
}

// Rates come from two answers; a shard that has begun to drop is marked.
func TestRatesAndDropsOfShards(t *testing.T) {
	r := startRelay(t, 3)
	p := overview(t, r)
	p.await(`[...document.querySelectorAll(".shard .load")].every(n => n.textContent === "0/s")`)
	if marks := p.texts(".shard .mark"); len(marks) != 0 {
		t.Errorf("marks without drops: %q", marks)
	}
	r.change(func() { r.second += 40 })
	p.await(`[...document.querySelectorAll(".shard .mark")].filter(n => !n.hidden).length === 1`)
	if marked := p.text(`.shard:has(.mark:not([hidden])) .which`); marked != "shard 3" {
		t.Errorf("%s is marked", marked)
	}
}

func TestSortFilterAndBackend(t *testing.T) {
	r := startRelay(t, 40)
	p := overview(t, r)
	for _, by := range []string{"key", "rtt", "loss", "sessions", "bitrate"} {
		want := r.expected(by, "", "")
		p.click(`#streams [role=columnheader].c-` + by + ` .sort`)
		p.awaitRows(want)
		p.click(`#streams [role=columnheader].c-` + by + ` .sort`)
		slices.Reverse(want)
		p.awaitRows(want)
		sorted := "ascending"
		if by == "key" {
			sorted = "descending"
		}
		if got := read[string](p, `document.querySelector("#streams .c-`+by+`[aria-sort]").ariaSort`); got != sorted {
			t.Errorf("by %s: aria-sort is %q", by, got)
		}
	}
	p.click(`#streams [role=columnheader].c-key .sort`)
	want := r.expected("key", "court", "")
	p.do(chromedp.SendKeys(chromedp.CSS("#filter"), "court"))
	p.await(fmt.Sprintf(`document.querySelector("#streams-count").textContent === "%d"`, len(want)))
	p.awaitRows(want)
	want = r.expected("key", "court", "origin-b")
	p.click(`#backends li:nth-child(2) button`)
	p.await(fmt.Sprintf(`document.querySelector("#streams-count").textContent === "%d" && !document.querySelector("#only-backend").hidden`, len(want)))
	p.awaitRows(want)
	p.click("#only-backend")
	p.await(`document.querySelector("#only-backend").hidden`)
	p.do(chromedp.SendKeys(chromedp.CSS("#filter"), "nothing like it"))
	p.await(`document.querySelector("#streams-empty").textContent === "No stream fits the filter." && document.querySelector("#streams-empty").checkVisibility()`)
	if total := p.text("#total-streams"); total != "40" {
		t.Errorf("a filter changed the number of streams to %s", total)
	}
	p.clean()
}

func TestStreamPageShowsWhatTheAPISays(t *testing.T) {
	r := startRelay(t, 50)
	const i = 46 // has players, is encrypted, and loses on the caller's side
	s, sessions := streamAt(i, 0, 0), sessionsOf(i, 0)
	p := openTab(t, r.server.URL+"/#/stream/"+strings.ReplaceAll(url.PathEscape(s.Key), "%2F", "/"), 1440, 900, "light")
	p.live()
	p.await(fmt.Sprintf(`document.querySelectorAll("#stream-sessions .grid-body .grid-row:not([hidden])").length === %d`, len(sessions)))
	legs := p.texts("#stream-legs .leg b")
	if want := []string{percentText(s.CallerLoss), millisText(s.CallerRTT), percentText(s.BackendLoss), millisText(s.BackendRTT)}; !slices.Equal(legs, want) {
		t.Errorf("legs %q, want %q", legs, want)
	}
	if got := p.text("#stream-legs .verdict"); !strings.HasPrefix(got, fmt.Sprintf("It is the caller's network in 1 of %d sessions: it loses %s", s.Sessions, percentText(s.CallerLoss))) {
		t.Errorf("verdict %q", got)
	}
	legend := p.texts("#stream-charts .value")
	want := []string{bitrateText(s.BitrateIn), bitrateText(s.BitrateOut), millisText(s.CallerRTT), millisText(s.BackendRTT), percentText(s.CallerLoss), percentText(s.BackendLoss)}
	if !slices.Equal(legend, want) {
		t.Errorf("charts say %q, want %q", legend, want)
	}
	// The crosshair reads the history: 119 steps back is its first value.
	p.do(chromedp.Focus(chromedp.CSS("#stream-charts .plot")))
	h := streamAt(i, 0, 120).History
	p.press("\u0302") // ArrowLeft
	if got := p.texts("#stream-charts .value")[0]; got != bitrateText(*h.BitrateIn[118]) {
		t.Errorf("a second ago: %q, want %q", got, bitrateText(*h.BitrateIn[118]))
	}
	if got := p.text("#stream-charts .when"); got != "−0:01" {
		t.Errorf("the crosshair stands at %q", got)
	}
	callers := p.texts("#stream-sessions .key")
	if len(callers) != len(sessions) || callers[0] != sessions[0].Caller {
		t.Errorf("sessions of %q", callers)
	}
	facts := factsOf(p, "#stream-facts")
	if facts["Encryption"] != "AES-CTR, 256 bit" || facts["Retransmitted"] != countText(s.Retransmitted)+" packets" || facts["Latency to backend"] != "200 ms" {
		t.Errorf("facts %q", facts)
	}
	p.clean()
}

func factsOf(p *tab, selector string) map[string]string {
	facts := map[string]string{}
	for _, pair := range read[[][2]string](p, fmt.Sprintf(`[...document.querySelectorAll("%s dl > div")].map(d => [d.firstChild.textContent, d.lastChild.textContent])`, selector)) {
		facts[pair[0]] = pair[1]
	}
	return facts
}

func TestStreamThatIsNotThere(t *testing.T) {
	r := startRelay(t, 1)
	p := openTab(t, r.server.URL+"/#/stream/__defaultVhost__/live/studio-01", 1440, 900, "light")
	p.await(`!document.querySelector("#stream-gone").hidden`)
	r.change(func() { r.streams = 20 })
	p.await(`document.querySelector("#stream-gone").hidden && document.querySelector("#stream-parts").checkVisibility()`)
}

func TestSessionPageAndClosing(t *testing.T) {
	r := startRelay(t, 5)
	r.token = "secret"
	s := sessionsOf(2, 0)[0]
	p := openTab(t, r.server.URL+"/#/session/"+s.ID, 1440, 900, "light")
	p.await(`document.querySelector("#session-title").textContent.startsWith("Publisher")`)
	ways := map[string][2]string{}
	for _, row := range read[[][3]string](p, `[...document.querySelectorAll(".ways tbody tr")].map(r => [...r.children].map(c => c.textContent))`) {
		ways[row[0]] = [2]string{row[1], row[2]}
	}
	for name, want := range map[string][2]string{
		"Bitrate":               {bitrateText(s.ToBackend.Bitrate), bitrateText(s.ToCaller.Bitrate)},
		"Packets":               {countText(s.ToBackend.Packets), countText(s.ToCaller.Packets)},
		"Retransmitted":         {"8,123", "0"},
		"Lost before the relay": {"7,999", "0"},
		"ACK, NAK, ACKACK":      {"8,800, 512, 8,790", "0, 0, 0"},
		"Receiver’s RTT":        {"41.2 ms ± 3.02 ms", "–"},
	} {
		if ways[name] != want {
			t.Errorf("%s: %q, want %q", name, ways[name], want)
		}
	}
	if facts := factsOf(p, "#session-facts"); facts["Stream ID as sent"] != s.StreamID || facts["SRT version of callers"] != "1.5.3" {
		t.Errorf("facts %q", facts)
	}
	p.click("#session-close")
	p.await(`document.activeElement.textContent === "Keep it"`)
	p.click("dialog .danger")
	p.await(`document.activeElement.id === "token" && document.querySelector(".problem").textContent === "The relay wants its token for this."`)
	p.typeToken("wrong")
	p.await(`document.querySelector(".problem").textContent === "The relay does not take this token."`)
	p.picture("closing")
	p.await(`(t => t.selectionStart === 0 && t.selectionEnd === t.value.length)(document.querySelector("#token"))`)
	p.typeToken("secret")
	p.await(`!document.querySelector("dialog").open && !document.querySelector("#session-gone").hidden`)
	r.change(func() {
		if !slices.Equal(r.closed, []string{s.ID}) {
			t.Errorf("closed %q", r.closed)
		}
	})
}

// An address may name a stream as people do, and a session that never was.
func TestAddressesThatPeopleWrite(t *testing.T) {
	r := startRelay(t, 3)
	key := streamAt(1, 0, 0).Key
	r.tell(answer.Event{Kind: "session-ended", Stream: key, Cause: "caller"})
	p := openTab(t, r.server.URL+"/#/stream/"+strings.TrimPrefix(key, "__defaultVhost__/"), 1440, 900, "light")
	p.await(`document.querySelector("#stream-parts").checkVisibility() && location.hash === "#/stream/` + key + `"`)
	p.await(`document.querySelectorAll("#stream-events .event").length === 1`)
	read[int](p, `location.hash = "#/session/9-9-9"; 1`)
	p.await(`document.querySelector("#session-gone").textContent.startsWith("There is no session")`)
}

// What is wrong with the relay stands above everything, on every view, while it is so.
func TestAlarms(t *testing.T) {
	r := startRelay(t, 3)
	p := overview(t, r)
	if !read[bool](p, `document.querySelector("#alarms").hidden`) {
		t.Error("an alarm of a relay that is well")
	}
	for _, c := range []struct {
		ready       readiness
		level, text string
	}{
		{readiness{Reason: "no backend can take a stream: origin-a is down"}, "bad", "Not ready: no backend can take a stream: origin-a is down. New callers are refused, what runs goes on."},
		{readiness{Ready: true, Reason: "the log is not read since 2026-05-04T12:00:00Z, 17 lines lost"}, "some", "Ready, but: the log is not read since 2026-05-04T12:00:00Z, 17 lines lost."},
		{readiness{Ready: true, Reason: "overload: step players, pressure 0.92 by drops: the kernel dropped 4.61 % of what came to shard 3"}, "some", "Ready, but: overload: step players, pressure 0.92 by drops: the kernel dropped 4.61 % of what came to shard 3."},
		{readiness{Draining: true, Reason: "draining"}, "bad", "The relay is stopping: it refuses new callers. What runs goes on until it ends."},
	} {
		r.change(func() { r.ready = c.ready })
		p.await(fmt.Sprintf(`(a => a?.checkVisibility() && a.textContent === %q && a.dataset.level === %q)(document.querySelector("#alarms .alarm"))`, c.text, c.level))
		p.picture("alarm-" + c.level)
		read[int](p, `location.hash = location.hash === "#/" ? "#/session/2-200-1" : "#/"; 1`)
		p.await(`document.body.dataset.state === "live" && document.querySelector("#alarms .alarm").checkVisibility()`)
	}
	r.change(func() { r.ready = readiness{Ready: true} })
	p.await(`document.querySelector("#alarms").hidden && document.querySelectorAll(".alarm").length === 0`)
}

// Several relays are open in several windows: each says which it is.
func TestRelayHasItsName(t *testing.T) {
	r := startRelay(t, 3)
	p := overview(t, r)
	p.await(`document.title === "relay-a – srtrelay" && document.querySelector("#relay-name").checkVisibility()`)
	read[int](p, `location.hash = "#/stream/`+streamAt(1, 0, 0).Key+`"; 1`)
	p.await(`document.title === "live/studio-01 – relay-a – srtrelay" && document.querySelectorAll("#stream-legs .place strong")[1].textContent === "relay-a"`)
	r.change(func() { r.name = "" })
	p.await(`document.title === "live/studio-01 – srtrelay"`)
}

// A session has its charts, of what the page has seen of it: on its stream's page too.
func TestSessionCharts(t *testing.T) {
	r := startRelay(t, 5)
	s := sessionsOf(2, 0)[0]
	p := openTab(t, r.server.URL+"/#/stream/"+s.Stream, 1440, 900, "light")
	p.await(`document.querySelectorAll("#stream-sessions .grid-body .grid-row:not([hidden])").length > 0`)
	read[int](p, `location.hash = "#/session/`+s.ID+`"; 1`)
	p.await(`document.querySelectorAll("#session-charts .plot path.line").length === 6`)
	p.await(`/M.*L/.test(document.querySelector("#session-charts .plot path.in").getAttribute("d"))`)
	want := []string{bitrateText(s.ToBackend.Bitrate), bitrateText(s.ToCaller.Bitrate), millisText(s.CallerLeg.RTTMillis), millisText(s.BackendLeg.RTTMillis), percentText(s.CallerLeg.LossPercent), percentText(s.BackendLeg.LossPercent)}
	if got := p.texts("#session-charts .value"); !slices.Equal(got, want) {
		t.Errorf("charts say %q, want %q", got, want)
	}
	p.clean()
	lists := readLater[[][]*float64](p, `import("/ui/history.js").then(m => {
		const seen = new m.History(), leg = {rtt_ms: 1}, now = performance.now;
		for (const second of [10, 10.4, 11, 13, 20]) {
			performance.now = () => second * 1000;
			seen.add([{id: "a", to_backend: {bitrate_bps: second}, to_caller: {bitrate_bps: 1}, caller_leg: leg, backend_leg: {}}]);
		}
		performance.now = now;
		return [seen.lists("a")[0].slice(-12), seen.lists("a")[3].slice(-2), [seen.lists("a")[0].length, seen.lists("b")[0].length]];
	})`)
	if got, _ := json.Marshal(lists); string(got) != `[[null,10.4,11,11,13,null,null,null,null,null,null,20],[null,null],[30,30]]` {
		t.Errorf("history %s", got)
	}
}
