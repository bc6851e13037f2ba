package web

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"srtrelay/api/answer"
)

// relaysAt are three relays, of which one is away, as they are now or were before Redis
// went away.
func relaysAt(stale bool) *answer.RelayList {
	l := &answer.RelayList{
		SharedState: answer.SharedState{InUse: !stale, Since: noon, ReadAt: noon},
		Relays: []answer.Relay{
			{
				ID: "aaaa", Name: "relay-a", Self: true, State: "alive", Version: "v0.5.0", API: "http://relay-a:12025", SeenAt: noon, SeenSeconds: 1,
				UptimeSeconds: 200_000, Shards: 8, RelaySums: answer.RelaySums{Sessions: 118, Streams: 40, Publishers: 40, Players: 78, BitrateIn: 212e6, BitrateOut: 1.2e9}, Listed: 40,
			},
			{
				ID: "bbbb", Name: "relay-b", State: "alive", Version: "v0.5.0", API: "http://relay-b:12025", SeenAt: noon, SeenSeconds: 1.6, Overload: "captures",
				UptimeSeconds: 9000, Shards: 8, RelaySums: answer.RelaySums{Sessions: 87, Streams: 31, Publishers: 20, Players: 67, BitrateIn: 110e6, BitrateOut: 0.9e9}, Listed: 31, Draining: true,
			},
			{
				ID: "cccc", Name: "relay-<b>c</b>", State: "away", Version: "v0.4.0", SeenAt: noon.Add(-time.Minute), SeenSeconds: 60,
				UptimeSeconds: 90, Shards: 2, RelaySums: answer.RelaySums{Sessions: 3, Streams: 1, Publishers: 1, Players: 2}, Listed: 1,
			},
		},
		Alive: 2, Away: 1, Sum: answer.RelaySums{Sessions: 205, Streams: 61, Publishers: 60, Players: 145, BitrateIn: 322e6, BitrateOut: 2.1e9},
	}
	if stale {
		l.SharedState.Problem = "redis: connection refused"
	}
	return l
}

// clusterStreams are those of the fixture, each at one relay or at two.
func (r *fakeRelay) clusterStreams(_ http.ResponseWriter, q *http.Request) any {
	r.asked = append(r.asked, q.URL.RequestURI())
	l := answer.ClusterStreamList{SharedState: r.relays.SharedState, Streams: []answer.ClusterStream{}, LeftOut: 12}
	for i := range r.streams {
		s := streamAt(i, 0, 0)
		if !strings.Contains(s.Key, q.URL.Query().Get("q")) {
			continue
		}
		one := answer.ClusterStream{Key: s.Key, Sessions: s.Sessions, Publishers: 1, Players: s.Players, BitrateIn: s.BitrateIn, BitrateOut: s.BitrateOut}
		for k, at := range r.relays.Relays {
			if k == i%3 || k == 0 && i%5 == 0 {
				one.Places = append(one.Places, answer.StreamPlace{
					Relay: at.ID, Name: at.Name, State: at.State, Backend: s.Backend, Sessions: s.Sessions, Publishers: 1, Players: s.Players,
					BitrateIn: s.BitrateIn, BitrateOut: s.BitrateOut, AgeSeconds: 77,
				})
			}
		}
		l.Total++
		if len(l.Streams) < number(q, "limit", 100) {
			l.Streams = append(l.Streams, one)
		}
	}
	return l
}

// Which relay is away, the sums, and where each stream is.
func TestRelaysView(t *testing.T) {
	r := startRelay(t, 6)
	r.relays = relaysAt(false)
	p := overview(t, r)
	p.await(`document.querySelector("#relays-alive").textContent === "2 of 3" && document.querySelector("#relays-link").dataset.state === "away"`)
	p.click("#relays-link")
	p.await(`document.querySelectorAll("#places tbody tr").length === 7`)
	if got := p.texts("#relays tbody tr"); len(got) != 3 || !strings.Contains(got[1], "draining, overload: captures") || !strings.Contains(got[2], "relay-<b>c</b>away") {
		t.Errorf("the relays are %q", got)
	}
	if got := p.text("#relays tfoot"); !strings.Contains(got, "20561322 Mbit/s") {
		t.Errorf("the sum is %q", got)
	}
	if got := p.text("#relays-count"); got != "2 of 3 alive" {
		t.Errorf("%q", got)
	}
	if read[bool](p, `!document.querySelector("#relays-stale").hidden`) {
		t.Error("the view says that it is stale")
	}
	links := `[...document.querySelectorAll("#places tbody a")].map((a) => a.getAttribute("href") ?? "")`
	key := streamAt(0, 0, 0).Key
	if got := read[[]string](p, links); got[0] != "#/stream/"+key || got[1] != "http://relay-b:12025/#/stream/"+streamAt(1, 0, 0).Key || got[2] != "" {
		t.Errorf("the links are %q", got)
	}
	read[int](p, `document.querySelector("#places-filter").value = "court"; document.querySelector("#places-filter").dispatchEvent(new Event("input")); 1`)
	p.await(`document.querySelectorAll("#places tbody tr").length === 1`)
	if got := p.text("#places-more"); got != "12 streams with little traffic are not listed by the relays." {
		t.Errorf("%q", got)
	}
	r.change(func() { r.relays = relaysAt(true) })
	p.await(`document.querySelector("#relays-stale").textContent.startsWith("Redis is away since 2026-05-04") && document.querySelector("#relays-alive").textContent === "2 of 3, Redis away"`)
	p.press(kb.Escape)
	p.await(`!document.querySelector("#overview").hidden`)
	p.clean()
}

// A relay that shares nothing has no such view, and is not asked for it.
func TestNoRelaysViewWithoutRedis(t *testing.T) {
	r := startRelay(t, 3)
	p := overview(t, r)
	if !read[bool](p, `document.querySelector("#relays-link").hidden`) {
		t.Error("the link is shown")
	}
	r.change(func() {
		if slices.ContainsFunc(r.asked, func(q string) bool { return strings.Contains(q, "cluster") }) {
			t.Errorf("asked %q", r.asked)
		}
	})
	p.clean()
}
