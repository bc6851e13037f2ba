package overload

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

// Each folder of testdata is the root of a file system.
func TestReadMemory(t *testing.T) {
	const page = 4096
	none := GoMemory{Limit: math.MaxInt64}
	for folder, c := range map[string]struct {
		runtime GoMemory
		known   bool
		want    float64
		detail  string
	}{
		"v2":             {none, true, 0.5, "384 of 512 MiB of cgroup /system.slice/srtrelay.service"},
		"v2-parent":      {none, true, 0.8, "90 of 100 MiB of cgroup /pod"},
		"v2-high":        {none, true, 0.8, "180 of 200 MiB of cgroup /"},
		"v2-no-stat":     {none, true, 1, "512 of 512 MiB of cgroup /"},
		"v2-unreadable":  {none, false, 0, "read the cgroup's memory: open sys/fs/cgroup/a/memory.current: no such file or directory"},
		"v2-nonsense":    {none, false, 0, `read the cgroup's memory: sys/fs/cgroup/memory.current: strconv.ParseInt: parsing "?": invalid syntax`},
		"v2-beyond":      {none, true, 1.5, "640 of 512 MiB of cgroup /"},
		"v1":             {none, true, 0.8, "90 of 100 MiB of cgroup /docker/abc"},
		"v1-container":   {none, true, 0, "30 of 100 MiB of cgroup /"},
		"host":           {none, true, 0, "400 of 1000 MiB of the host's memory"},
		"host-no-cgroup": {none, true, 0.9, "950 of 1000 MiB of the host's memory"},
		"host-cut":       {none, false, 0, "read the process's memory: proc/self/statm is cut short"},
		"nothing":        {none, false, 0, "read the cgroup: open proc/self/cgroup: no such file or directory\nread the host's memory: open proc/meminfo: no such file or directory"},
	} {
		t.Run(folder, func(t *testing.T) {
			root := os.DirFS(filepath.Join("testdata", folder))
			checkReading(t, ReadMemory(root, c.runtime, page), c.known, c.want, c.detail)
		})
	}
	limited := GoMemory{Used: 96 << 20, Limit: 100 << 20}
	checkReading(t, ReadMemory(os.DirFS("testdata/v2"), limited, page), true, 0.92, "96 of 100 MiB of GOMEMLIMIT")
	checkReading(t, ReadMemory(os.DirFS("testdata/nothing"), limited, page), true, 0.92, "96 of 100 MiB of GOMEMLIMIT")
}

func checkReading(t *testing.T, got Reading, known bool, want float64, detail string) {
	t.Helper()
	if got.Known != known || math.Abs(got.Pressure-want) > 1e-9 || got.Detail != detail {
		t.Errorf("%+v, want %v %v %q", got, known, want, detail)
	}
}

func TestMemoryLimit(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for name, c := range map[string]struct {
		root fstest.MapFS
		want int64
	}{
		"no cgroups": {fstest.MapFS{}, math.MaxInt64},
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
		"no number": {fstest.MapFS{"proc/self/cgroup": file("0::/\nnonsense"), "sys/fs/cgroup/memory.max": file("?")}, math.MaxInt64},
	} {
		if got := MemoryLimit(c.root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
