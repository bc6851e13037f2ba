package balancer

import (
	"time"

	"srtrelay/backend"
	"srtrelay/internal/message"
)

// record reads what is known of one backend.
func (d *decoder) record() {
	var id backend.ID
	var r record
	var proofs []proof
	d.each(func(in *message.Reader) {
		switch in.Number() {
		case recordAt:
			id = d.at(in)
		case recordProof:
			proofs = append(proofs, readProof(in))
		case recordProofCount:
			r.proofCount = small(in)
		case recordLastLiving:
			r.lastLiving = age(in)
		case recordPassed:
			if r.passed = small(in); r.passed >= returnProofs {
				in.Refuse("more trials than a return needs")
			}
		default:
			r.readEjection(in)
		}
	})
	if id == "" || len(proofs) != min(r.proofCount, keptProofs) {
		d.Refuse("a record without a backend, or without its proofs")
		return
	}
	for k, p := range proofs {
		r.proofs[(r.proofCount-len(proofs)+k)%keptProofs] = p
	}
	d.state.records[id] = &r
}

func readProof(in *message.Reader) (p proof) {
	r := message.Read(in.Bytes())
	for r.Next() {
		switch r.Number() {
		case proofSource:
			p.source = message.Uint[uint64](&r)
		case proofBegun:
			p.begun = age(&r)
		}
	}
	in.Fail(r.Err())
	return p
}

func (r *record) readEjection(in *message.Reader) {
	switch in.Number() {
	case recordEjected:
		r.ejected = in.Bool()
	case recordReturning:
		r.returning = in.Bool()
	case recordSince:
		r.since = age(in)
	case recordUntil:
		r.until = age(in)
	case recordWhy:
		r.why = in.String()
	case recordNeed:
		r.need = small(in)
	case recordTimes:
		r.times = small(in)
	case recordTotal:
		r.total = message.Uint[uint64](in)
	case recordCleared:
		r.cleared = age(in)
	case recordForgetAt:
		r.forgetAt = age(in)
	}
}

// readCohort reads a field that callers and cohorts have.
func readCohort(r *message.Reader, c *cohort, generation *int) {
	switch r.Number() {
	case cohortGeneration:
		if *generation = small(r); *generation > 1 {
			r.Refuse("no such generation")
			*generation = 0
		}
	case cohortSource:
		c.source = message.Uint[uint64](r)
	case cohortPublish:
		c.publish = r.Bool()
	}
}

// caller reads the failures of one caller.
func (d *decoder) caller() {
	var c callerFailures
	var hash uint64
	g, n := 0, 0
	d.each(func(r *message.Reader) {
		switch r.Number() {
		case callerHash:
			hash = message.Uint[uint64](r)
		case callerFailure:
			if n == len(c.failures) {
				r.Refuse("too many failures of one caller")
				return
			}
			c.failures[n] = d.failure(r)
			n++
		default:
			readCohort(r, &c.cohort, &g)
		}
	})
	e := &d.state.evidence
	if len(e.callers[g]) >= maxCallers {
		d.Refuse("too many callers")
		return
	}
	e.callers[g][hash] = &c
	e.perSource[g][c.source]++
}

func (d *decoder) failure(in *message.Reader) (f failure) {
	r := message.Read(in.Bytes())
	for r.Next() {
		switch r.Number() {
		case failureAt:
			f.at = d.at(&r)
		case failureWhen:
			f.when = age(&r)
		case failureLasted:
			f.lasted = length(&r)
		case failureRequest:
			f.request = message.Uint[uint64](&r)
		case failureChosen:
			f.chosen = r.Bool()
		case failureSurvivedAt:
			f.survivedAt = d.at(&r)
		case failureSurvivedFor:
			f.survivedFor = length(&r)
		}
	}
	in.Fail(r.Err())
	return f
}

// length returns how long something lasted.
func length(r *message.Reader) time.Duration {
	const century = 100 * 365 * 24 * time.Hour
	t := r.Duration()
	if t < 0 || t > century {
		r.Refuse("an impossible length of time")
		return 0
	}
	return t
}

// cohort reads how many sessions of a cohort have survived.
func (d *decoder) cohort() {
	var c cohort
	var s survivors
	g := 0
	d.each(func(r *message.Reader) {
		switch r.Number() {
		case cohortSurvived:
			s.survived = small(r)
		case cohortProven:
			s.proven = small(r)
		case cohortSlowHook:
			s.slowHook = r.Bool()
		default:
			readCohort(r, &c, &g)
		}
	})
	cohorts := d.state.evidence.cohorts[g]
	if len(cohorts) >= maxCohorts {
		d.Refuse("too many cohorts")
		return
	}
	cohorts[c] = &s
}
