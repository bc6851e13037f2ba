//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"srtrelay/api/answer"
)

// listing is what one walk through all pages of the sessions found.
type listing struct {
	sessions int
	pages    int
	largest  int // bytes of an answer
}

// list walks through all pages, as large as they may be.
func list(client *http.Client, api string) (l listing, err error) {
	const most = 1000
	seen := map[string]bool{}
	for cursor := ""; l.pages == 0 || cursor != ""; l.pages++ {
		var page struct{ Data answer.SessionList }
		size, err := read(client, fmt.Sprintf("%s/api/v1/sessions?limit=%d&cursor=%s", api, most, cursor), &page)
		if err != nil {
			return l, err
		}
		if n := len(page.Data.Sessions); n > most {
			return l, fmt.Errorf("%d sessions in an answer, want %d at most", n, most)
		}
		for i := range page.Data.Sessions {
			id := page.Data.Sessions[i].ID
			if seen[id] {
				return l, fmt.Errorf("session %s is told twice", id)
			}
			seen[id] = true
		}
		cursor, l.largest = page.Data.Cursor, max(l.largest, size)
	}
	l.sessions = len(seen)
	return l, nil
}

func read(client *http.Client, url string, into any) (size int, err error) {
	res, err := client.Get(url)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET %s: %s %w", url, res.Status, err)
	}
	return len(text), json.Unmarshal(text, into)
}

// Twenty thousand sessions are listed twice while data flows in all of
// them: no packet is lost, every answer is bounded, and none is left out. This
// takes all CPUs, so no test runs beside it.
func TestListingCostsNoPacket(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	const ports, perPort = 200, 100
	a, b := startMirror(t), startMirror(t)
	r := startPlainRelay(t, backendAt(a.Addr()), backendAt(b.Addr()), "--shards", "2",
		"--max-handshakes-per-source", "4096", "--max-sessions-per-source", "1000000", "--idle-timeout", "60s")
	c := gather(t, r, ports, perPort)

	const times = 2
	found := make(chan []listing, 1)
	go func() {
		client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		var all []listing
		for range times {
			l, err := list(client, r.api)
			if err != nil {
				t.Error(err)
				break
			}
			all = append(all, l)
		}
		found <- all
	}()
	var all []listing
	for flowing := true; flowing; {
		c.exchange(1, 1316)
		select {
		case all = <-found:
			flowing = false
		default:
		}
	}

	t.Logf("listed while %d packets passed in each session: %+v", c.sent, all)
	if len(all) != times {
		t.Errorf("%d listings, want %d", len(all), times)
	}
	const bytesEach = 4096 // two to three times what a session takes
	for _, l := range all {
		if l.sessions != ports*perPort || l.largest > 1000*bytesEach {
			t.Errorf("a listing found %+v, want %d sessions", l, ports*perPort)
		}
	}
	c.checkClean(a, b)
	st := r.stats()
	for _, lost := range []string{"kernel_drops", "send_buffer_full", "send_too_big", "send_failed", "busy"} {
		if st[lost] != 0 {
			t.Errorf("%s: %d", lost, st[lost])
		}
	}
}
