package rules

import "sync/atomic"

// Live publishes the set in force: one atomic load, no lock. Nil publishes
// none. The zero value is ready for use.
type Live struct{ current atomic.Pointer[Set] }

// Set returns the rules in force, nil without any. Who asks twice may get two
// sets.
func (l *Live) Set() *Set {
	if l == nil {
		return nil
	}
	return l.current.Load()
}

// Publish puts a set in force.
func (l *Live) Publish(s *Set) { l.current.Store(s) }
