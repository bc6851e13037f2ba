package relay

import (
	"bytes"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"srtrelay/config"
)

// The bug: with 14 descriptors the relay started and refused everybody.
func TestDescriptorsAreCheckedAtStart(t *testing.T) {
	two := config.Config{Shards: 2, UpstreamPorts: 4, Listen: make([]netip.AddrPort, 1)}
	many := config.Config{Shards: 128, UpstreamPorts: 4, Listen: make([]netip.AddrPort, 2)}
	for _, c := range []struct {
		config    config.Config
		limit     int
		reserved  int
		err, warn string
	}{
		{two, 14, 0, "is 14, this configuration needs 34 at least and 48 for all", ""},
		{two, 33, 0, "is 33", ""},
		{two, 34, 0, "", "few descriptors"},
		{two, 64, 14, "", "wanted=304"},
		{two, 303, 14, "", "few descriptors"},
		{two, 304, 14, "", ""},
		{two, 0, 0, "", ""}, // unknown
		{many, 512, 0, "needs 540 at least", ""},
		{many, 1024, 242, "", "few descriptors"},
		{many, 1 << 20, 896, "", ""},
	} {
		var out bytes.Buffer
		p := planFiles(c.config, c.limit)
		err := p.check(slog.New(slog.NewTextHandler(&out, nil)))
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("limit %d: error %v, want %q", c.limit, err, c.err)
		}
		if (out.Len() == 0) != (c.warn == "") || !strings.Contains(out.String(), c.warn) {
			t.Errorf("limit %d: logged %q, want %q", c.limit, out.String(), c.warn)
		}
		if err == nil && p.reserved() != c.reserved {
			t.Errorf("limit %d: %d kept for upstream sockets, want %d", c.limit, p.reserved(), c.reserved)
		}
		if err == nil && c.limit > 0 && p.least+p.reserved()+p.apiShare() != c.limit+leastAPI {
			t.Errorf("limit %d: the shares do not add up: %+v", c.limit, p)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for name, c := range map[string]struct {
		root fstest.MapFS
		want int
	}{
		"no cgroups": {fstest.MapFS{}, math.MaxInt},
		"version 2": {fstest.MapFS{
			"proc/self/cgroup": file("0::/system.slice/srtrelay.service\n"),
			"sys/fs/cgroup/system.slice/srtrelay.service/memory.max": file("536870912\n"),
		}, 512 << 20},
		"version 2, the limit of a cgroup around it": {fstest.MapFS{
			"proc/self/cgroup":             file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max": file("max\n"),
			"sys/fs/cgroup/a/memory.max":   file("1048576\n"),
		}, 1 << 20},
		"in a container, which sees its own root": {fstest.MapFS{
			"proc/self/cgroup":         file("0::/\n"),
			"sys/fs/cgroup/memory.max": file("2097152\n"),
		}, 2 << 20},
		"version 1": {fstest.MapFS{
			"proc/self/cgroup": file("5:cpu,cpuacct:/x\n4:memory:/docker/abc\n1:name=systemd:/x\n"),
			"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": file("4194304\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes":            file("9223372036854771712\n"),
		}, 4 << 20},
		"version 1 in a container: the host's path is not there": {fstest.MapFS{
			"proc/self/cgroup":                           file("4:memory:/docker/abc\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes": file("8388608\n"),
		}, 8 << 20},
		"no number": {fstest.MapFS{"proc/self/cgroup": file("0::/\nnonsense"), "sys/fs/cgroup/memory.max": file("?")}, math.MaxInt},
	} {
		if got := memoryLimit(c.root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
