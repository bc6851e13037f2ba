package shard

import (
	"time"

	"srtrelay/internal/message"
)

// session appends a session, and first its peer if that has not been appended yet.
func (w *snapshotWriter) session(b []byte, i uint32, ss *session) []byte {
	cold := w.Shard.sessions.cold(i)
	if cold.peer != nil && !w.brief && w.peers[cold.peer] == 0 {
		b = w.peer(b, cold.peer)
	}
	b, mark := message.Open(b, snapshotSession)
	b = message.AppendUint(b, sessionIndex, i)
	b = message.AppendUint(b, sessionGeneration, ss.gen)
	b = message.AppendUint(b, sessionState, ss.state)
	b = message.AppendUint(b, sessionFlags, ss.flags())
	b = message.AppendUint(b, sessionFront, ss.front)
	b = message.AppendUint(b, sessionUpstream, ss.upstream)
	b = appendAddress(b, sessionCaller, ss.caller)
	b = message.AppendFixed32(b, sessionCallerID, ss.callerID)
	b = message.AppendFixed32(b, sessionBackendID, ss.backendID)
	if cold.peer != nil && !w.brief {
		b = message.AppendUint(b, sessionPeer, w.peers[cold.peer])
	}
	b = message.AppendFixed32(b, sessionISN, ss.isn)
	b = w.times(b, i, ss, cold)
	b = message.AppendUint(b, sessionPacketsUp, ss.toBackend.Packets)
	b = message.AppendUint(b, sessionBytesUp, ss.toBackend.Bytes)
	b = message.AppendUint(b, sessionPacketsDown, ss.toCaller.Packets)
	b = message.AppendUint(b, sessionBytesDown, ss.toCaller.Bytes)
	b = message.AppendUint(b, sessionLease, ss.lease)
	b = message.AppendBytes(b, sessionKey, cold.key())
	b = message.AppendBytes(b, sessionStreamID, cold.streamID())
	b = appendIP(b, sessionLocal, ss.local)
	b = message.AppendFixed32(b, sessionGroup, ss.group)
	b = message.AppendUint(b, sessionCause, ss.cause)
	b = message.AppendUint(b, sessionMigrations, cold.migrations)
	return message.Close(w.parts(b, i, ss, cold), mark)
}

// flags returns the flags of a session's message.
func (ss *session) flags() (flags uint8) {
	set := func(flag uint8, on bool) {
		if on {
			flags |= flag
		}
	}
	set(flagCallerKey, ss.hasCallerKey)
	set(flagResponseUsed, ss.responseUsed)
	set(flagInPeer, ss.inPeer)
	set(flagPublisher, ss.publisher)
	set(flagDialled, ss.backend.IsValid())
	return flags
}

// times appends the times of a session.
func (w *snapshotWriter) times(b []byte, i uint32, ss *session, cold *coldState) []byte {
	b = message.AppendTime(b, sessionTimer, w.clock, w.wheel.due(i))
	b = message.AppendTime(b, sessionCallerSeen, w.clock, ss.callerSeen)
	b = message.AppendTime(b, sessionBackendSeen, w.clock, ss.backendSeen)
	b = message.AppendTime(b, sessionOpened, w.clock, cold.opened)
	b = message.AppendTime(b, sessionEstablished, w.clock, ss.establishedAt)
	b = message.AppendTime(b, sessionUnanswered, w.clock, ss.unansweredSince)
	b = message.AppendTime(b, sessionEnded, w.clock, cold.ended)
	return message.AppendTime(b, sessionLastShutdown, w.clock, ss.lastShutdown)
}

// due returns a time for which Set arms the timer of a session as it is, also by a clock
// whose ticks are half a tick apart from these; 0 if it is not set.
func (w *timerWheel) due(index uint32) time.Duration {
	if tick := w.timers.At(index).due; tick > 0 {
		return time.Duration(tick)*wheelTick - wheelTick/2
	}
	return 0
}

// parts appends what a session consists of beside its own fields.
func (w *snapshotWriter) parts(b []byte, i uint32, ss *session, cold *coldState) []byte {
	var mark int
	if ss.state == StateEstablished || ss.state == StateClosing {
		b, mark = message.Open(b, sessionTerms)
		b = message.Close(cold.terms.AppendSnapshot(b), mark)
	}
	if ss.state == StateEstablished { // in the kernel path no datagram would tell it anew
		b, mark = message.Open(b, sessionTrace)
		b = message.Close(cold.trace.Append(b, w.clock), mark)
	}
	if w.brief {
		return w.kernelPart(b, i, ss)
	}
	if ss.state == StateEstablished || ss.state == StateClosing {
		b, mark = message.Open(b, sessionMeter)
		b = message.Close(w.meters.AppendSnapshot(b, &ss.meter, w.now, w.clock), mark)
	}
	if cold.pending != nil {
		b, mark = message.Open(b, sessionPending)
		b = message.Close(w.pending(b, cold.pending), mark)
	}
	if cold.replay != nil {
		b, mark = message.Open(b, sessionReplay)
		b = message.Close(cold.replay.AppendSnapshot(b, w.clock), mark)
	}
	if r, waits := w.pendingInductions[i]; waits {
		b, mark = message.Open(b, sessionInduction)
		b = message.AppendBytes(b, inductionRequest, r.request.Bytes())
		b = appendIP(b, inductionLocal, r.local)
		b = message.Close(message.AppendTime(b, inductionAt, w.clock, r.at), mark)
	}
	return w.kernelPart(b, i, ss)
}

// kernelPart appends the kernel state of a session in the kernel path.
func (w *snapshotWriter) kernelPart(b []byte, i uint32, ss *session) []byte {
	if !ss.inKernel {
		return b
	}
	b, mark := message.Open(b, sessionKernel)
	return message.Close(w.appendKernelState(b, i, ss), mark)
}

// pending appends what a session has until its caller is answered.
func (w *snapshotWriter) pending(b []byte, o *pendingHandshake) []byte {
	b = message.AppendBytes(b, pendingProxyKey, o.proxyKey)
	b, mark := message.Open(b, pendingLeg)
	b = message.Close(o.leg.AppendSnapshot(b, w.clock), mark)
	b = message.AppendTime(b, pendingDialedAt, w.clock, o.attempt.dialedAt)
	b = message.AppendTime(b, pendingDeadline, w.clock, o.attempt.deadline)
	b = message.AppendBool(b, pendingAskedAnother, o.attempt.askedAnother)
	b = message.AppendBool(b, pendingAwaiting, o.attempt.awaiting)
	b = message.AppendUint(b, pendingFailure, o.attempt.failure)
	for _, id := range o.tried {
		b = message.AppendBytes(b, pendingTried, id)
	}
	return message.AppendDuration(b, pendingStallsSeen, o.stallsSeen)
}
