package balancer

import (
	"time"

	"srtrelay/internal/message"
)

// What the snapshot of a Memory says of backends and callers: proofs, ejections,
// failures.

// Fields of a record. How many of its sessions live or try the backend follows from the
// leases.
const (
	recordAt         message.Number = 1
	recordProof      message.Number = 2 // in order
	recordProofCount message.Number = 3
	recordLastLiving message.Number = 4
	recordEjected    message.Number = 5
	recordReturning  message.Number = 6
	recordSince      message.Number = 7
	recordUntil      message.Number = 8
	recordWhy        message.Number = 9
	recordNeed       message.Number = 10
	recordTimes      message.Number = 11
	recordTotal      message.Number = 12
	recordCleared    message.Number = 13
	recordForgetAt   message.Number = 14
	recordPassed     message.Number = 15
)

// Fields of a proof.
const (
	proofSource message.Number = 1
	proofBegun  message.Number = 2
)

// Fields of the failures of a caller, and of a cohort.
const (
	cohortGeneration message.Number = 1
	cohortSource     message.Number = 2
	cohortPublish    message.Number = 3
	callerHash       message.Number = 4
	callerFailure    message.Number = 5
	cohortSurvived   message.Number = 6
	cohortProven     message.Number = 7
	cohortSlowHook   message.Number = 8
)

// Fields of a failure.
const (
	failureAt          message.Number = 1
	failureWhen        message.Number = 2
	failureLasted      message.Number = 3
	failureRequest     message.Number = 4
	failureChosen      message.Number = 5
	failureSurvivedAt  message.Number = 6
	failureSurvivedFor message.Number = 7
)

func (e *encoder) appendRecords(b []byte) []byte {
	for id, r := range e.records {
		out, mark := message.Open(b, memoryRecord)
		out = message.AppendUint(out, recordAt, e.backends[id])
		kept := min(r.proofCount, keptProofs)
		for k := range kept {
			p := &r.proofs[(r.proofCount-kept+k)%keptProofs]
			inner, at := message.Open(out, recordProof)
			inner = message.AppendFixed64(inner, proofSource, p.source)
			out = message.Close(appendAge(inner, proofBegun, p.begun), at)
		}
		out = message.AppendUint(out, recordProofCount, uint64(r.proofCount))
		out = appendAge(out, recordLastLiving, r.lastLiving)
		out = message.AppendBool(out, recordEjected, r.ejected)
		out = message.AppendBool(out, recordReturning, r.returning)
		out = appendAge(out, recordSince, r.since)
		out = appendAge(out, recordUntil, r.until)
		out = message.AppendBytes(out, recordWhy, r.why)
		out = message.AppendUint(out, recordNeed, uint64(r.need))
		out = message.AppendUint(out, recordTimes, uint64(r.times))
		out = message.AppendUint(out, recordTotal, r.total)
		out = appendAge(out, recordCleared, r.cleared)
		out = appendAge(out, recordForgetAt, r.forgetAt)
		out = message.AppendUint(out, recordPassed, uint64(r.passed))
		b = message.Close(out, mark)
	}
	return b
}

// appendAge appends a time of Memory.clock.
func appendAge(b []byte, n message.Number, t time.Duration) []byte {
	return message.AppendTime(b, n, message.Clock{}, t)
}

// appendEvidence appends the evidence. A caller of both generations is the same one, and
// is appended once.
func (e *encoder) appendEvidence(b []byte) []byte {
	b = appendAge(b, memorySince, e.evidence.since)
	for g, callers := range e.evidence.callers {
		for hash, c := range callers {
			if g == 1 && e.evidence.callers[0][hash] != nil {
				continue
			}
			out, mark := message.Open(b, memoryCaller)
			out = appendCohort(out, g, c.cohort)
			out = message.AppendFixed64(out, callerHash, hash)
			for k := range c.failures {
				if f := &c.failures[k]; f.at != "" {
					inner, at := message.Open(out, callerFailure)
					out = message.Close(e.appendFailure(inner, f), at)
				}
			}
			b = message.Close(out, mark)
		}
	}
	for g, cohorts := range e.evidence.cohorts {
		for c, s := range cohorts {
			out, mark := message.Open(b, memoryCohort)
			out = appendCohort(out, g, c)
			out = message.AppendUint(out, cohortSurvived, uint64(s.survived))
			out = message.AppendUint(out, cohortProven, uint64(s.proven))
			b = message.Close(message.AppendBool(out, cohortSlowHook, s.slowHook), mark)
		}
	}
	return b
}

func appendCohort(b []byte, generation int, c cohort) []byte {
	b = message.AppendUint(b, cohortGeneration, uint64(generation))
	b = message.AppendFixed64(b, cohortSource, c.source)
	return message.AppendBool(b, cohortPublish, c.publish)
}

func (e *encoder) appendFailure(b []byte, f *failure) []byte {
	b = message.AppendUint(b, failureAt, e.backends[f.at])
	b = appendAge(b, failureWhen, f.when)
	b = message.AppendDuration(b, failureLasted, f.lasted)
	b = message.AppendFixed64(b, failureRequest, f.request)
	b = message.AppendBool(b, failureChosen, f.chosen)
	b = message.AppendUint(b, failureSurvivedAt, e.backends[f.survivedAt])
	return message.AppendDuration(b, failureSurvivedFor, f.survivedFor)
}
