//go:build linux

package sink

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"srtrelay/bench/pace"
)

// regroup is the least time between two changes of the schedule by callers that come and go,
// because each visits all sessions.
const regroup = int64(100 * time.Millisecond)

// class is the players that want the same rate, and their schedule.
type class struct {
	plan    pace.Plan
	members []uint32 // indexes into the table
}

// streams is the schedule of what flows to players. Only the loop uses it.
type streams struct {
	classes []class
	running bool
	dirty   bool // players came or went since they were grouped
	grouped int64
}

func (s *streams) start(t *table, now int64) {
	s.running = true
	s.group(t, now)
}

func (s *streams) stop() { s.running, s.classes = false, nil }

// refresh adds players that have come since the start.
func (s *streams) refresh(t *table, now int64) {
	if s.running && s.dirty && now-s.grouped >= regroup {
		s.group(t, now)
	}
}

func (s *streams) group(t *table, now int64) {
	byRate := map[float64][]uint32{}
	for i := range t.used {
		if ss := t.at(i); ss.open && ss.play && ss.rate > 0 {
			byRate[ss.rate] = append(byRate[ss.rate], uint32(i))
		}
	}
	s.classes = s.classes[:0]
	for _, rate := range slices.SortedFunc(maps.Keys(byRate), cmp.Compare[float64]) {
		members := byRate[rate]
		c := class{plan: pace.New(rate*float64(len(members)), len(members)), members: members}
		c.plan.Start(now)
		s.classes = append(s.classes, c)
	}
	s.dirty, s.grouped = false, now
}
