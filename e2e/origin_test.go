//go:build linux

package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
)

// originProgram builds the origin beside the relay, once.
var originProgram = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "origin")
	text, err := clocale.Command("../internal/origin/build.sh", path).CombinedOutput()
	if err != nil {
		return "", &buildError{string(text)}
	}
	return path, nil
})

// buildError is what the compiler said.
type buildError struct{ text string }

func (e *buildError) Error() string { return "build the origin: " + e.text }

// origin is a running internal/origin: many connections, real libsrt.
type origin struct {
	*program
	t    *testing.T
	addr netip.AddrPort
	dir  string // what publishers sent, one file per resource
}

// startOrigin runs an origin on a free port of host. Its end stops it and
// checks that it went cleanly.
func startOrigin(t *testing.T, host string, flags ...string) *origin {
	t.Helper()
	return startOriginBy(t, nil, host, flags...)
}

// startOriginBy is startOrigin with a command in front that becomes the origin.
func startOriginBy(t *testing.T, by []string, host string, flags ...string) *origin {
	t.Helper()
	return startOriginAt(t, by, host, 0, flags...)
}

// startOriginAt is startOriginBy on a port of the test's choice, unless that is 0.
func startOriginAt(t *testing.T, by []string, host string, port uint16, flags ...string) *origin {
	t.Helper()
	need.Tool(t, "cc")
	if _, err := os.Stat("/usr/include/srt/srt.h"); err != nil {
		need.Skip(t, "libsrt's headers are not installed; `make setup` installs them")
	}
	path, err := originProgram()
	must(t, err)
	return runOrigin(t, by, path, host, port, flags...)
}

// runOrigin is startOriginAt with an origin that is built.
func runOrigin(t *testing.T, by []string, path, host string, port uint16, flags ...string) *origin {
	t.Helper()
	o := &origin{t: t, dir: t.TempDir()}
	command := slices.Concat(by, []string{path, "-o", o.dir}, flags, []string{host, strconv.Itoa(int(port))})
	o.program = startProgram(t, command[0], command[1:]...)
	listening := o.awaitLine("listening", func(map[string]string) bool { return true })
	o.addr = netip.MustParseAddrPort(listening["address"])
	return o
}

// lines returns the events of one kind so far, as their key=value pairs.
func (o *origin) lines(event string) (found []map[string]string) {
	for line := range strings.Lines(string(o.stdout.bytes())) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != event || !strings.HasSuffix(line, "\n") {
			continue
		}
		pairs := make(map[string]string)
		for _, w := range words[1:] {
			key, value, _ := strings.Cut(w, "=")
			pairs[key] = value
		}
		found = append(found, pairs)
	}
	return found
}

// awaitLine waits for an event that satisfies cond.
func (o *origin) awaitLine(event string, cond func(map[string]string) bool) (found map[string]string) {
	o.t.Helper()
	ok := o.stdout.await(patience, func([]byte) bool {
		for _, l := range o.lines(event) {
			if cond(l) {
				found = l
				return true
			}
		}
		return false
	})
	if !ok {
		o.t.Fatalf("origin %v: no event %q within %v:\n%s", o.addr, event, patience, o.stdout.bytes())
	}
	return found
}

// closed waits until a connection to a resource has ended, and returns its
// last line.
func (o *origin) closed(role, resource string) map[string]string {
	o.t.Helper()
	return o.awaitLine("closed", func(l map[string]string) bool {
		return l["role"] == role && l["resource"] == resource
	})
}

// file is where the origin keeps what a resource's publisher has delivered.
func (o *origin) file(resource string) string {
	return filepath.Join(o.dir, strings.ReplaceAll(resource, "/", "_"))
}

// received is what the publisher of a resource has delivered so far.
func (o *origin) received(resource string) []byte {
	b, err := os.ReadFile(o.file(resource))
	if err != nil {
		return nil // not yet
	}
	return b
}

// size is how much that is.
func (o *origin) size(resource string) int {
	st, err := os.Stat(o.file(resource))
	if err != nil {
		return 0 // not yet
	}
	return int(st.Size())
}

// awaitReceived waits for n bytes of a resource.
func (o *origin) awaitReceived(resource string, n int) []byte {
	eventually(func() bool { return o.size(resource) >= n })
	return o.received(resource)
}

// count reads a number of an event.
func count(line map[string]string, key string) int {
	n, err := strconv.Atoi(line[key])
	if err != nil {
		return -1
	}
	return n
}
