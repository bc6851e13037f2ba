//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/internal/need"
)

// ffmpeg and libsrt at limits: the second player is refused at once; a publisher above its bitrate
// goes on for the grace and gets a SHUTDOWN, and the next one is forbidden. The relay says who it
// was.
func TestLimits(t *testing.T) {
	t.Parallel()
	ffmpeg := need.Tool(t, "ffmpeg")
	o := startOrigin(t, loopback.Addr().String())
	r := startRelay(t, "--shards=2", "--max-players-per-stream=1", "--max-bitrate-per-stream=100kbps", "--limit-grace=8s", backendAt(o.addr))
	others := besideAtAllShards(t, r)
	to := func(mode string) string { return fmt.Sprintf("srt://%v?streamid=#!::r=live/film,m=%s", r.addr, mode) }
	publish := func() *program { return startProgram(t, ffmpeg, append(testClip(), to("publish"))...) }
	pub := publish()
	r.awaitLog("session begun", func(l logLine) bool { return l.text("stream") == "__defaultVhost__/live/film" })
	player := livePlay(t, r, "live/film")

	// Refused while both go on. Shards know of each other's players within a second.
	sources := func(cond func(answer.Source) bool) func(stats) bool {
		return func(stats) bool {
			var list answer.SourceList
			r.get("/api/v1/sources?sort=refused", &list)
			return len(list.Sources) == 1 && list.Sources[0].Source == "127.0.0.1/32" && cond(list.Sources[0])
		}
	}
	r.await("both sessions in the sums", sources(func(s answer.Source) bool { return s.Sessions == others+2 }))
	asked := time.Now()
	second := startProgram(t, ffmpeg, "-hide_banner", "-loglevel", "verbose", "-i", to("request"), "-c", "copy", "-f", "null", "-")
	second.awaitEnd(t)
	if took := time.Since(asked); second.err == nil || took > patience/2 {
		t.Errorf("the second player: %v after %v", second.err, took)
	}
	t.Logf("ffmpeg says: %s", lastLines(second))
	r.awaitLog("caller rejected", func(l logLine) bool {
		return l.text("limit") == "stream players" && strings.HasPrefix(l.text("code"), "2402")
	})

	over := r.awaitLog("stream above its bitrate", func(l logLine) bool { return l.text("limit") == "100kbps" })
	ended := r.awaitLog("session ended", func(l logLine) bool { return l.text("cause") == "over limit" })
	if over.text("session") != ended.text("session") || over.text("stream") != "__defaultVhost__/live/film" {
		t.Errorf("above: %v, ended: %v", over, ended)
	}
	pub.awaitEnd(t)
	o.closed("publisher", "live/film")
	for _, l := range r.log("session ended") {
		if l.text("role") == "player" && l.text("cause") != "backend" { // the origin ends it with its stream
			t.Errorf("the relay has ended the player's session, too: %v", l)
		}
	}
	player.stop()

	next := publish()
	next.awaitEnd(t)
	if next.err == nil {
		t.Error("the next publisher was let in")
	}
	t.Logf("ffmpeg says: %s", lastLines(next))
	r.awaitLog("caller rejected", func(l logLine) bool {
		return l.text("limit") == "stream blocked" && strings.HasPrefix(l.text("code"), "2403")
	})
	r.await("the figures", func(st stats) bool {
		return st["streams_over_limit"] == 1 && st["at_stream_players"] >= 1 && st["at_stream_blocked"] >= 1
	})
	r.await("the source", sources(func(s answer.Source) bool { return s.Refused >= 2 && s.Limit == "stream blocked" }))
}

// besideAtAllShards connects publishers of other streams until each shard has one, and returns
// how many there are. A shard forgets a source, with its refusals, once it has nothing of it.
func besideAtAllShards(t *testing.T, r *relay) (n int) {
	t.Helper()
	idle := func(s shardStats) bool { return s.Counters["sessions"] == 0 }
	for ; slices.ContainsFunc(r.shards(), idle); n++ {
		livePublish(t, r.addr, fmt.Sprintf("live/beside%d", n))
		r.awaitLog("session begun", func(logLine) bool { return len(r.log("session begun")) > n })
	}
	return n
}

// lastLines returns the end of what a program has said.
func lastLines(p *program) string {
	lines := strings.Split(strings.TrimSpace(string(p.stderr.bytes())), "\n")
	return strings.Join(lines[max(len(lines)-5, 0):], " | ")
}
