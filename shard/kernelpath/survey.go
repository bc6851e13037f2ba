package kernelpath

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Survey is which sessions the program of a process that died still relays.
type Survey struct {
	path *Path
	gens []uint32 // of the session of each way's entry, 0 without one
}

// Survey reads the entries of a path that has been taken over from a process that died. The
// path must not be in use.
func (p *Path) Survey() (*Survey, error) {
	s := &Survey{path: p, gens: make([]uint32, p.ways())}
	note := func(to *pathTarget) bool {
		if int(to.Way) < len(s.gens) {
			s.gens[to.Way] = to.Gen
		}
		return true
	}
	err := errors.Join(
		prune[pathKey4](p.objects.Sessions4, func(h *pathHop4) bool { return note(&h.To) }, nil),
		prune[pathKey6](p.objects.Sessions6, func(h *pathHop6) bool { return note(&h.To) }, nil),
	)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Has reports whether the program relays both ways of a session of a generation, or will once
// user space has handed them over.
func (s *Survey) Has(shard int, place, gen uint32) bool {
	if int(place) >= s.path.places || gen == 0 {
		return false
	}
	at := 2 * (shard*s.path.places + int(place))
	for way := at; way < at+2; way++ {
		w := Way{shared: &s.path.memory.ways[way]}
		if s.gens[way] != gen || w.Gen() != gen || w.Mode() == Off {
			return false
		}
	}
	return true
}

// Prune deletes the entries of all sessions but those that are to be kept: their datagrams go
// up from then on. It returns how many it has deleted.
func (p *Path) Prune(keep func(shard int, place, gen uint32) bool) (deleted int, err error) {
	has := func(to *pathTarget) bool {
		session := to.Way / 2
		return int(to.Way) < p.ways() && keep(int(session)/p.places, session%uint32(p.places), to.Gen)
	}
	err = errors.Join(
		prune[pathKey4](p.objects.Sessions4, func(h *pathHop4) bool { return has(&h.To) }, &deleted),
		prune[pathKey6](p.objects.Sessions6, func(h *pathHop6) bool { return has(&h.To) }, &deleted),
	)
	return deleted, err
}

// prune deletes the entries of a table for which keep returns false, and counts them.
func prune[K, V any](table *ebpf.Map, keep func(*V) bool, deleted *int) error {
	const some = 4096
	keys, values := make([]K, some), make([]V, some)
	var doomed []K
	var cursor ebpf.MapBatchCursor
	for end := false; !end; {
		n, err := table.BatchLookup(&cursor, keys, values, nil)
		if end = errors.Is(err, ebpf.ErrKeyNotExist); err != nil && !end {
			return fmt.Errorf("read %s: %w", table, err)
		}
		for k := range n {
			if !keep(&values[k]) {
				doomed = append(doomed, keys[k])
			}
		}
	}
	for k := range doomed {
		switch err := table.Delete(&doomed[k]); {
		case err == nil:
			*deleted++
		case !errors.Is(err, ebpf.ErrKeyNotExist):
			return fmt.Errorf("delete from %s: %w", table, err)
		}
	}
	return nil
}
