//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
)

// resources are what a process must not gather. Maps and programs are those that its
// descriptors hold in the kernel.
type resources struct{ files, threads, goroutines, megabytes, maps, programs int }

// resources counts what the process has now.
func (r *relay) resources() (u resources) {
	r.t.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", r.cmd.Process.Pid))
	must(r.t, err)
	u = resources{files: r.openFDs(), threads: len(threads), goroutines: r.routines(), megabytes: r.residentKiB() >> 10}
	u.maps, u.programs = r.kernelObjects()
	return u
}

// routines is goroutines, also of a relay in a namespace.
func (r *relay) routines() (n int) {
	r.t.Helper()
	res, err := r.client().Get(r.api + "/debug/pprof/goroutine?debug=1")
	must(r.t, err)
	defer res.Body.Close()
	_, err = fmt.Fscanf(res.Body, "goroutine profile: total %d", &n)
	must(r.t, err)
	_, _ = io.Copy(io.Discard, res.Body)
	return n
}

// kernelObjects counts the BPF maps and programs that descriptors of the process hold, by
// themselves or by a link.
func (r *relay) kernelObjects() (maps, programs int) {
	r.t.Helper()
	folder := fmt.Sprintf("/proc/%d/fdinfo", r.cmd.Process.Pid)
	entries, err := os.ReadDir(folder)
	must(r.t, err)
	seen := map[string]bool{}
	for _, e := range entries {
		text, err := os.ReadFile(folder + "/" + e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // closed since
		}
		must(r.t, err)
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); seen[line] {
				continue
			}
			seen[line] = true
			switch {
			case strings.HasPrefix(line, "map_id:"):
				maps++
			case strings.HasPrefix(line, "prog_id:"):
				programs++
			}
		}
	}
	return maps, programs
}

// chain is what the processes of a chain of take-overs have had, each with the same sessions
// running. A single one may have connections and threads of the moment, or be measured before
// a garbage collection, so several are compared with several.
type chain []resources

// add measures a process, and says now and then how far the chain is.
func (c *chain) add(r *relay) {
	u := r.resources()
	*c = append(*c, u)
	if n := len(*c); n%5 == 0 {
		r.t.Logf("take-over %d of %d: %+v", n, takeOvers(), u)
	}
}

// compared is how many processes are looked at, after the first few and at the end.
const compared = 5

// check fails the test if the last processes have more than the first ones.
func (c chain) check(t *testing.T) {
	t.Helper()
	first, last, most := c[0], c[len(c)-1], resources{files: 4, threads: 8, goroutines: 8, megabytes: c[0].megabytes/2 + 16}
	if len(c) > 3*compared {
		first, last = middle(c[compared:2*compared]), middle(c[len(c)-compared:])
		most = resources{files: 1, threads: 3, goroutines: 2, megabytes: first.megabytes/10 + 4}
	}
	t.Logf("the first processes have %+v, the last %+v", first, last)
	if last.files > first.files+most.files || last.threads > first.threads+most.threads ||
		last.goroutines > first.goroutines+most.goroutines || last.megabytes > first.megabytes+most.megabytes ||
		last.maps != first.maps || last.programs != first.programs {
		t.Errorf("the last processes have %+v, the first %+v; at most %+v more is allowed", last, first, most)
	}
}

// middle is that of each figure.
func middle(of chain) resources {
	mid := func(figure func(resources) int) int {
		var all []int
		for _, u := range of {
			all = append(all, figure(u))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return resources{
		mid(func(u resources) int { return u.files }), mid(func(u resources) int { return u.threads }),
		mid(func(u resources) int { return u.goroutines }), mid(func(u resources) int { return u.megabytes }),
		mid(func(u resources) int { return u.maps }), mid(func(u resources) int { return u.programs }),
	}
}
