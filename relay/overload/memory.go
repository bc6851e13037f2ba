package overload

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	slash "path"
	"strconv"
	"strings"
)

// GoMemory is the memory of the Go runtime.
type GoMemory struct {
	// Used is what it has of the system, Limit its soft limit (GOMEMLIMIT); math.MaxInt64
	// for none.
	Used, Limit int64
}

// ReadMemory reads how much of its memory the process uses: of the limit of its cgroup or
// of a parent, whichever has the least left, else of the host's; and of GOMEMLIMIT. root is
// the root of the file system.
func ReadMemory(root fs.FS, runtime GoMemory, pageSize int) Reading {
	worst, detail := -1.0, ""
	consider := func(used, limit int64, of string) {
		if part := float64(used) / float64(limit); limit > 0 && part > worst {
			worst, detail = part, fmt.Sprintf("%d of %d MiB of %s", used>>20, limit>>20, of)
		}
	}
	groups, err := cgroups(root)
	limited := false
	for _, g := range groups {
		limit := g.limit(root)
		if limit == math.MaxInt64 {
			continue
		}
		limited = true
		used, errUsed := g.used(root)
		if errUsed != nil {
			err = errUsed
			continue
		}
		consider(used, limit, g.title)
	}
	if !limited {
		used, total, errHost := hostMemory(root, pageSize)
		if errHost == nil {
			consider(used, total, "the host's memory")
			err = nil
		} else {
			err = errors.Join(err, errHost)
		}
	}
	if runtime.Limit > 0 && runtime.Limit != math.MaxInt64 {
		consider(runtime.Used, runtime.Limit, "GOMEMLIMIT")
	}
	switch {
	case worst >= 0:
		return Reading{Pressure: beyondHalf(worst), Known: true, Detail: detail}
	case err != nil:
		return Reading{Detail: err.Error()}
	}
	return Reading{Detail: "no limit"}
}

// MemoryLimit returns the lowest memory limit of the process's cgroup and its parents, of
// version 1 and 2; math.MaxInt64 if there is none.
func MemoryLimit(root fs.FS) int64 {
	least := int64(math.MaxInt64)
	groups, _ := cgroups(root)
	for _, g := range groups {
		least = min(least, g.limit(root))
	}
	return least
}

// cgroup is a memory cgroup of the process: its own, or a parent.
type cgroup struct {
	title string
	dir   string
	files *cgroupFiles
}

// cgroupFiles are the names of files and keys, which the two versions have.
type cgroupFiles struct {
	mount, used, inactive string
	limits                []string
}

// Of version 2, memory.high slows the process down before memory.max has it killed.
var (
	cgroupV2 = cgroupFiles{"sys/fs/cgroup", "memory.current", "inactive_file", []string{"memory.max", "memory.high"}}
	cgroupV1 = cgroupFiles{"sys/fs/cgroup/memory", "memory.usage_in_bytes", "total_inactive_file", []string{"memory.limit_in_bytes"}}
)

// cgroups returns the process's own memory cgroups first, then their parents.
func cgroups(root fs.FS) (all []cgroup, err error) {
	list, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("read the cgroup: %w", err)
	}
	for line := range strings.Lines(string(list)) {
		// hierarchy:controllers:path; 0::path in version 2
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		files := &cgroupV2
		switch {
		case controllers == "":
		case strings.Contains(","+controllers+",", ",memory,"):
			files = &cgroupV1
		default:
			continue
		}
		// In a container the path may be the host's, of which only the root exists.
		for dir := slash.Clean("/" + group); ; dir = slash.Dir(dir) {
			all = append(all, cgroup{title: "cgroup " + dir, dir: slash.Join(files.mount, dir), files: files})
			if dir == "/" {
				break
			}
		}
	}
	return all, nil
}

// limit reads the limit; math.MaxInt64 for none ("max", or in version 1 a number above all
// memory).
func (g *cgroup) limit(root fs.FS) int64 {
	least := int64(math.MaxInt64)
	for _, name := range g.files.limits {
		text, err := fs.ReadFile(root, slash.Join(g.dir, name))
		if err != nil {
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
		if err == nil && n < unlimited {
			least = min(least, int64(n))
		}
	}
	return least
}

// unlimited is more memory than any host has. Version 1 writes "none" as the largest number
// of pages.
const unlimited = 1 << 60

// used reads what is used, without files that nobody has read for long: the kernel takes
// that memory back before it kills a process.
func (g *cgroup) used(root fs.FS) (int64, error) {
	text, err := fs.ReadFile(root, slash.Join(g.dir, g.files.used))
	if err != nil {
		return 0, fmt.Errorf("read the cgroup's memory: %w", err)
	}
	used, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the cgroup's memory: %s: %w", slash.Join(g.dir, g.files.used), err)
	}
	stat, err := fs.ReadFile(root, slash.Join(g.dir, "memory.stat"))
	if err != nil {
		return used, nil // the larger number errs on the safe side
	}
	return max(used-valueOf(stat, g.files.inactive), 0), nil
}

// hostMemory reads how much of the host's memory the process itself has. What others use
// does not count.
func hostMemory(root fs.FS, pageSize int) (used, total int64, err error) {
	meminfo, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, 0, fmt.Errorf("read the host's memory: %w", err)
	}
	if total = valueOf(meminfo, "MemTotal:") << 10; total == 0 {
		return 0, 0, errors.New("read the host's memory: no MemTotal")
	}
	statm, err := fs.ReadFile(root, "proc/self/statm")
	if err != nil {
		return 0, 0, fmt.Errorf("read the process's memory: %w", err)
	}
	fields := strings.Fields(string(statm)) // size, resident, ... in pages
	if len(fields) < 2 {
		return 0, 0, errors.New("read the process's memory: proc/self/statm is cut short")
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("read the process's memory: %w", err)
	}
	return pages * int64(pageSize), total, nil
}

// valueOf returns the number behind a key in lines of "key number"; 0 if it is missing.
func valueOf(text []byte, key string) int64 {
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == key {
			n, _ := strconv.ParseInt(fields[1], 10, 64) // 0 if it is no number
			return n
		}
	}
	return 0
}
