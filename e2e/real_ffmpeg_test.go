//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
)

const (
	clipSeconds   = 5
	clipPerSecond = 25
)

// testClip are the arguments that make ffmpeg invent a film with sound.
func testClip() []string {
	return []string{
		"-hide_banner", "-loglevel", "warning", "-re",
		"-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=320x180:rate=%d", clipPerSecond),
		"-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
		"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", strconv.Itoa(clipPerSecond),
		"-c:a", "aac", "-f", "mpegts",
	}
}

// ffmpeg publishes and ffmpeg plays, through a relay and to an origin that
// speak IPv4 or IPv6. What was played decodes without a complaint.
func TestRealFFmpeg(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, listen, origin string }{
		{"IPv4", "127.0.0.1", "127.0.0.1"},
		{"IPv6", "::1", "::1"},
		{"IPv6 caller, IPv4 origin", "::1", "127.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && c.name != "IPv4" {
				t.Skip("one address family is enough for a short run")
			}
			ffmpeg := need.Tool(t, "ffmpeg")
			o := startOrigin(t, c.origin, "-p", passphrase, "-k", "32", "-l", "400")
			listen := netip.AddrPortFrom(netip.MustParseAddr(c.listen), 0)
			r := startRelay(t, "--listen", listen.String(), backendAt(o.addr))
			const secret = "&passphrase=" + passphrase + "&pbkeylen=32&latency=400000"
			played := filepath.Join(t.TempDir(), "played.ts")
			player := startProgram(t, ffmpeg, "-hide_banner", "-loglevel", "warning",
				"-i", fmt.Sprintf("srt://%v?streamid=#!::r=live/film,m=request%s", r.addr, secret),
				"-c", "copy", "-t", strconv.Itoa(clipSeconds), "-f", "mpegts", played)
			r.awaitLog("session begun", func(l logLine) bool { return l.text("role") == "player" })
			pub := startProgram(t, ffmpeg, append(testClip(),
				fmt.Sprintf("srt://%v?streamid=#!::r=live/film,m=publish%s", r.addr, secret))...)
			<-player.done // after clipSeconds of film
			if player.err != nil {
				t.Errorf("the player failed: %v\n%s", player.err, player.stderr.bytes())
			}
			pub.stop()
			published := o.closed("publisher", "live/film")
			if n := count(published, "lost"); n != 0 || count(published, "keylen") != 32 {
				t.Errorf("origin: %v", published)
			}
			checkFilm(t, ffmpeg, played)
			r.awaitEmpty()
		})
	}
}

// checkFilm decodes a file and counts its pictures.
func checkFilm(t *testing.T, ffmpeg, path string) {
	t.Helper()
	if st, err := os.Stat(path); err != nil || st.Size() == 0 {
		t.Errorf("nothing was played: %v", err)
		return
	}
	decode := clocale.Command(ffmpeg, "-hide_banner", "-loglevel", "error", "-xerror", "-progress", "pipe:1",
		"-i", path, "-f", "null", "-")
	var progress, complaints bytes.Buffer
	decode.Stdout, decode.Stderr = &progress, &complaints
	if err := decode.Run(); err != nil || complaints.Len() > 0 {
		t.Errorf("what was played does not decode: %v\n%s", err, complaints.Bytes())
	}
	frames := 0
	for line := range strings.Lines(progress.String()) {
		if text, ok := strings.CutPrefix(line, "frame="); ok {
			frames, _ = strconv.Atoi(strings.TrimSpace(text))
		}
	}
	if least := clipSeconds * clipPerSecond * 9 / 10; frames < least {
		t.Errorf("%d pictures played, want at least %d", frames, least)
	}
}
