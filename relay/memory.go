package relay

import (
	"io/fs"
	"log/slog"
	"math"
	slash "path"
	"strconv"
	"strings"

	"srtrelay/shard"
)

// processMemory is what the process takes beside its batches and the kernel's
// buffers, with some thousand sessions.
const processMemory = 96 << 20

// warnMemory says once when the cgroup's limit is less than the relay may come
// to need: beyond it the kernel kills the process, with all its streams.
func warnMemory(root fs.FS, group *shard.Group, log *slog.Logger) {
	limit := memoryLimit(root)
	batches, buffers := group.MemoryMost()
	if needed := processMemory + batches + buffers; limit < needed {
		log.Warn("the cgroup's memory may not suffice when all shards are busy", "limit_bytes", limit, "needed_bytes", needed,
			"batches_bytes", batches, "receive_buffers_bytes", buffers,
			"advice", "raise the limit, or lower --shards, --batch or --rcvbuf")
	}
}

// memoryLimit returns the least memory limit of the process's cgroup and those
// around it, version 1 and 2; math.MaxInt without one. root is the root of the
// file system.
func memoryLimit(root fs.FS) int {
	least := math.MaxInt
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return least
	}
	for line := range strings.Lines(string(groups)) {
		// hierarchy:controllers:path, of version 2 0::path
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		mount, file := "", ""
		switch {
		case controllers == "":
			mount, file = "sys/fs/cgroup", "memory.max"
		case strings.Contains(","+controllers+",", ",memory,"):
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path may be the host's, and only the root is there.
		for dir := slash.Clean("/" + group); ; dir = slash.Dir(dir) {
			least = min(least, limitIn(root, slash.Join(mount, dir, file)))
			if dir == "/" {
				break
			}
		}
	}
	return least
}

// limitIn reads one limit; math.MaxInt where there is none ("max", or version
// 1's number above all memory).
func limitIn(root fs.FS, name string) int {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return math.MaxInt
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n > math.MaxInt {
		return math.MaxInt
	}
	return int(n)
}
