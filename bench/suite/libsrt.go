//go:build linux

package suite

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"srtrelay/bench/traffic"
	"srtrelay/internal/clocale"
)

// The load of real libsrt: less than of sinks, because libsrt spends more on a packet than any
// peer.
const (
	libsrtRate     = 20_000
	libsrtSessions = 33
)

// originScript builds the origin. Its path is from the root of the source.
const originScript = "internal/origin/build.sh"

// buildOrigin builds the program with the real libsrt once. If that fails, a note says why there
// are no figures.
func (b *Bench) buildOrigin(ctx context.Context, scenario string) (built bool) {
	if b.origin != "" {
		return true
	}
	path := filepath.Join(b.dir, "origin")
	text, err := clocale.CommandContext(ctx, originScript, path).CombinedOutput()
	if err != nil {
		why := firstLine(strings.TrimSpace(string(text)))
		b.note(scenario, fmt.Sprintf("no backends of the real libsrt, which need a C compiler, libsrt's headers and %s: %v: %s", originScript, err, why))
		return false
	}
	b.origin = path
	return true
}

func (b *Bench) libsrtPlan() traffic.Plan {
	return traffic.Plan{Mode: traffic.Steady, Sessions: or(b.opts.Sessions, libsrtSessions), Rate: or(b.opts.Rate, libsrtRate), Libsrt: true}
}

var libsrt = Scenario{
	ID: "libsrt", Title: "CPU per packet, backends of the real libsrt",
	run: func(ctx context.Context, b *Bench) error {
		if !b.buildOrigin(ctx, "libsrt") {
			return nil
		}
		if err := b.alternate(ctx, "libsrt", b.pathPeers(), b.libsrtPlan(), 1, b.opts.Rounds); err != nil {
			return err
		}
		b.compareToNFT("libsrt")
		b.lossless("libsrt", kernelPath)
		return nil
	},
	estimate: func(b *Bench) time.Duration { return time.Duration(b.opts.Rounds*len(b.pathPeers())) * b.runTime() },
}
