//go:build linux

package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"srtrelay/internal/clocale"
	"srtrelay/internal/srsfake"
	"srtrelay/internal/srttest"
)

// world is what surrounds the commands of a page: servers at their addresses, a relay that
// the page takes for granted, and callers.
type world struct {
	env     []string // of the page's commands
	servers []string // SRT servers
	relay   string   // what runs before the first command, "" for nothing
	streams []string // a publisher each, and for every further mention a player
	beat    string   // the server that sends heartbeats to a relay with a token

	callers []*flow
	beating chan struct{}
}

// worldRules refuse the caller that docs/operations.md asks for.
const worldRules = "access:\n  publish:\n    deny: [127.0.0.9/32]\n"

// worlds are those of the pages that need more than the relays that they start.
var worlds = map[string]world{
	"README.md":  {servers: []string{"10.0.0.5:10080", "10.0.0.6:10080"}, beat: "10.0.0.5:10080"},
	"capture.md": {servers: []string{"127.0.0.1:10080"}, relay: "srtrelay --backend srt://127.0.0.1:10080", streams: []string{"live/x", "live/x"}},
	"operations.md": {
		servers: []string{"127.0.0.1:21181", "127.0.0.1:21182"},
		relay:   "srtrelay --rules rules.yaml --backend srt://127.0.0.1:21181 --backend srt://127.0.0.1:21182",
		streams: []string{"live/studio-1", "live/match", "live/studio-1", "live/studio-1"},
	},
	"routing.md": {
		servers: []string{"10.0.0.5:10080"}, beat: "10.0.0.5:10080",
		relay: "srtrelay --api :12025 --register-token SECRET-OF-YOURS",
		env:   []string{"SRTRELAY_REGISTER_TOKEN=SECRET-OF-YOURS"},
	},
}

// setUp makes the world of a page.
func (p *docPage) setUp(name string) {
	p.Helper()
	must(p.T, os.WriteFile(filepath.Join(p.dir, "rules.yaml"), []byte(worldRules), 0o644))
	p.world = worlds[name]
	for _, at := range p.world.servers {
		local := netip.MustParseAddrPort(at)
		if ip := local.Addr(); !ip.IsLoopback() {
			// Gone with the page: elsewhere it is not this host's.
			p.address("replace", ip)
			p.Cleanup(func() { p.address("delete", ip) })
		}
		startBackend(p.T, srttest.ListenerConfig{Local: local, Mode: srttest.Sink}).Ack(true)
	}
	if p.world.relay != "" {
		p.serve(name, p.world.relay)
	}
}

// address adds an address to the namespace, or deletes it.
func (p *docPage) address(verb string, ip netip.Addr) {
	p.Helper()
	if out, err := clocale.Command("ip", "address", verb, ip.String()+"/32", "dev", "lo").CombinedOutput(); err != nil {
		p.Fatalf("%v\n%s", err, out)
	}
}

// tokenInLine and apiInLine find what a relay's command line says of its API.
var (
	tokenInLine = regexp.MustCompile(`(?:--register-token |SRTRELAY_REGISTER_TOKEN=)(\S+)`)
	apiInLine   = regexp.MustCompile(`--api (\S*):(\d+)`)
)

// started lets the world's callers and heartbeats begin at a relay that has started.
func (w *world) started(p *docPage, line string) {
	p.Helper()
	known := map[string]bool{}
	for _, stream := range w.streams {
		mode := "request"
		if !known[stream] {
			known[stream], mode = true, "publish"
		}
		s := mustDial(p.T, netip.MustParseAddrPort("127.0.0.1:20080"), srttest.CallerOptions{StreamID: "#!::r=" + stream + ",m=" + mode})
		// Players send too, so that no session is idle, however long the page takes.
		w.callers = append(w.callers, keepFlowing(p.T, s))
	}
	token, api := tokenInLine.FindStringSubmatch(line), apiInLine.FindStringSubmatch(line)
	if w.beat == "" || token == nil || api == nil {
		return
	}
	host := api[1]
	if host == "" {
		host = "127.0.0.1"
	}
	server := srsfake.New(1, netip.MustParseAddrPort(w.beat))
	server.Server, server.PID = "vid-abc1234", 4321
	w.beating = make(chan struct{})
	go beat(server, "http://"+host+":"+api[2]+"/api/v1/srs/register/"+token[1], w.beating)
}

// beat sends heartbeats until end is closed.
func beat(server srsfake.Server, url string, end <-chan struct{}) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		_, _, _ = server.Beat(url)
		select {
		case <-end:
			return
		case <-tick.C:
		}
	}
}

// ending ends the callers and heartbeats before their relay ends.
func (w *world) ending() {
	for _, f := range w.callers {
		close(f.stopped)
		f.sending.Wait()
		f.s.Close()
	}
	w.callers = nil
	if w.beating != nil {
		close(w.beating)
		w.beating = nil
	}
}
