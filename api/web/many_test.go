package web

import (
	"net/url"
	"slices"
	"strconv"
	"testing"
)

// Five thousand streams cost the browser no more than those in sight: the
// document stays small, and the relay is asked for few rows.
func TestFiveThousandStreams(t *testing.T) {
	const total, bound = 5000, 60
	r := startRelay(t, total)
	p := overview(t, r)
	want := r.expected("bitrate", "", "")
	p.awaitRows(want)
	p.await(`document.querySelector("#streams-count").textContent === "5,000"`)
	const drawn = `document.querySelectorAll("#streams .grid-row").length`
	nodes := read[int](p, `document.querySelectorAll("*").length`)
	// Through the whole table in strides; each stop shows its rows.
	for _, at := range []int{100, 1234, 2500, 4000, 4970, 10} {
		read[int](p, `document.querySelector("#streams").scrollTop = `+strconv.Itoa(at*44)+`; 1`)
		p.await(`(row => row && !row.classList.contains("waiting") && row.querySelector(".key").title === ` + strconv.Quote(want[at].Key) + `)(document.querySelector('#streams [aria-rowindex="` + strconv.Itoa(at+2) + `"]'))`)
		if rows := read[int](p, drawn); rows > bound {
			t.Fatalf("%d rows in the document", rows)
		}
	}
	p.click("#streams [role=columnheader].c-bitrate .sort") // the other way round
	read[int](p, `document.querySelector("#streams").scrollTop = 3000 * 44; 1`)
	p.await(`document.querySelector('#streams [aria-rowindex="3002"]:not(.waiting) .key')?.title === ` + strconv.Quote(want[total-1-3000].Key))
	p.click("#streams [role=columnheader].c-bitrate .sort")
	if now := read[int](p, `document.querySelectorAll("*").length`); now > nodes+50 {
		t.Errorf("the document grew from %d to %d elements by scrolling", nodes, now)
	}
	// The numbers of all streams change every second, while the table is
	// scrolled in every frame. A frame that takes a second is a page that hangs.
	r.change(func() { r.lives = true })
	slowest := readLater[float64](p, `new Promise(done => {
		const grid = document.querySelector("#streams"); let last = performance.now(), slowest = 0, frame = 0;
		const next = now => { slowest = Math.max(slowest, now - last); last = now; grid.scrollTop = (frame * 397) % (grid.scrollHeight - 800); ++frame < 240 ? requestAnimationFrame(next) : done(slowest); };
		requestAnimationFrame(next); })`)
	t.Logf("slowest frame %.0f ms", slowest)
	if slowest > 1000 {
		t.Errorf("a frame took %.0f ms", slowest)
	}
	r.change(func() {
		for _, asked := range r.asked {
			u, err := url.Parse(asked)
			if limit, _ := strconv.Atoi(u.Query().Get("limit")); err != nil || limit > bound {
				t.Errorf("the relay was asked for %s", asked)
				break
			}
		}
	})
	p.await(`document.body.dataset.state === "live"`)
	p.picture("five-thousand")
	p.clean()
}

// A thousand sessions of one stream are a table of the same kind.
func TestAThousandSessions(t *testing.T) {
	r := startRelay(t, 3)
	p := overview(t, r)
	texts := readLater[[]int](p, `Promise.all([import("/ui/sessions.js")]).then(([m]) => {
		const host = document.createElement("div"); host.id = "stream-sessions"; document.querySelector("#stream-sessions").replaceWith(host);
		document.querySelector("#overview").hidden = true; document.querySelector("#stream-view").hidden = false; document.querySelector("#stream-parts").hidden = false;
		const way = {bitrate_bps: 1, retransmitted: 0, dropped: 0};
		const table = new m.SessionTable(host);
		table.set(Array.from({length: 1000}, (_, i) => ({id: String(i), role: "player", caller: "192.0.2.1:" + i, state: "established", age_seconds: i,
			to_backend: way, to_caller: way, caller_leg: {}, backend_leg: {}, srt: {}})));
		return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done([host.querySelectorAll(".grid-row").length, Number(host.ariaRowCount)]))));
	})`)
	if texts[0] < 10 || texts[0] > 60 || !slices.Equal(texts[1:], []int{1001}) {
		t.Errorf("rows in the document, and told: %v", texts)
	}
}
