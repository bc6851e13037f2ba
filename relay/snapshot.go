package relay

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"srtrelay/internal/message"
	"srtrelay/observe/metrics"
	"srtrelay/udp"
)

// snapshotVersion is the version of what relay.appendSnapshot writes. Its parts have
// versions of their own.
const snapshotVersion = 1

// Fields of the snapshot of a relay beside its shards, which have snapshots of their own
// (shard/snapshot.go): there are the sessions, and the secret of the cookies. What the
// configuration says, such as the relay's name, is the new process's own.
const (
	snapshotBackends message.Number = 2
	snapshotBalancer message.Number = 3
	snapshotShared   message.Number = 4 // missing with --state memory
	snapshotEvents   message.Number = 5
	snapshotMetrics  message.Number = 6
	snapshotStreams  message.Number = 7
	snapshotReloads  message.Number = 8
	snapshotLogins   message.Number = 9
	snapshotOverload message.Number = 10
)

// Fields of the counts of reloads.
const (
	reloadsSucceeded message.Number = 2
	reloadsFailed    message.Number = 3
	reloadsAsked     message.Number = 4
)

const reloadsVersion = 1

// eventsTimeout bounds the time for the last events to reach the feed. They are in memory,
// and the log does not wait for its reader.
const eventsTimeout = 20 * time.Millisecond

// appendSnapshot appends the state of all parts but the shards, for another process. The
// shards must be frozen and the resolver paused. Events that happen from now on are held
// until resumeEvents: they are those of the process that takes over, unless it fails.
func (r *relay) appendSnapshot(b []byte) ([]byte, error) {
	boot, err := udp.AtMonotonic(0)
	if err != nil {
		return nil, err
	}
	return r.appendSnapshotAt(b, boot), nil
}

// appendSnapshotAt is appendSnapshot. boot is when CLOCK_MONOTONIC, which all processes of
// a host share, was 0 by the clock of this process.
func (r *relay) appendSnapshotAt(b []byte, boot time.Time) []byte {
	r.sinks.awaitPublished(eventsTimeout)
	r.sinks.feed.Hold()
	parts := r.backendParts(boot)
	parts[snapshotEvents] = r.sinks.feed.AppendSnapshot
	parts[snapshotMetrics] = func(b []byte) []byte { return metrics.AppendSnapshot(b, r.quality, r.sinks.counted) }
	parts[snapshotStreams] = func(b []byte) []byte { return r.watch.AppendSnapshot(b, boot) }
	parts[snapshotReloads] = func(b []byte) []byte { return r.reloads.appendSnapshot(b, boot) }
	parts[snapshotLogins] = r.logins.AppendSnapshot
	parts[snapshotOverload] = r.overload.appendSnapshot
	return r.sealed(b, parts)
}

// sealed appends a snapshot of parts, which are written at the same time: the shards wait.
func (r *relay) sealed(b []byte, parts map[message.Number]func([]byte) []byte) []byte {
	var mu sync.Mutex
	written := make(map[message.Number][]byte, len(parts))
	writers := r.supervisor.Tasks()
	for n, write := range parts {
		writers.Go("snapshot", func() {
			part := write(nil)
			mu.Lock()
			defer mu.Unlock()
			written[n] = part
		})
	}
	writers.Wait()
	from := len(b)
	b = message.AppendVersion(b, snapshotVersion)
	for n, part := range written {
		b = message.AppendBytes(b, n, part)
	}
	return message.Seal(b, from, uint32(len(parts)))
}

// resumeEvents publishes the events since appendSnapshot: this process goes on after all. Another
// one may have served callers meanwhile.
func (r *relay) resumeEvents(otherServed bool) {
	if otherServed {
		r.sinks.feed.ReleaseAnew(time.Now())
		return
	}
	r.sinks.feed.Release()
}

// restore goes on as the relay that appended a snapshot, with the backends of this
// configuration. Neither the tasks that follow the backends nor the event log have started,
// and no lease has been issued. After an error this process must end.
func (r *relay) restore(b []byte) error {
	boot, err := udp.AtMonotonic(0)
	if err != nil {
		return err
	}
	return r.restoreAt(b, boot)
}

// restoreAt is restore. boot is when CLOCK_MONOTONIC was 0 by the clock of this process.
func (r *relay) restoreAt(b []byte, boot time.Time) error {
	parts, err := snapshotParts(b)
	if err != nil {
		return fmt.Errorf("snapshot of the relay: %w", err)
	}
	if err := r.restoreBackends(parts, boot, time.Now()); err != nil {
		return err
	}
	if err := r.sinks.feed.Restore(parts[snapshotEvents]); err != nil {
		return err
	}
	if err := metrics.Restore(parts[snapshotMetrics], r.quality, r.sinks.counted); err != nil {
		return err
	}
	if err := r.watch.Restore(parts[snapshotStreams], boot); err != nil {
		return err
	}
	if err := r.logins.Restore(parts[snapshotLogins]); err != nil {
		return err
	}
	if err := r.overload.restore(parts[snapshotOverload]); err != nil {
		return err
	}
	return r.reloads.restore(parts[snapshotReloads], boot)
}

func (l *reloads) appendSnapshot(b []byte, boot time.Time) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	b = message.AppendVersion(b, reloadsVersion)
	b = message.AppendUint(b, reloadsSucceeded, l.counts.succeeded)
	b = message.AppendUint(b, reloadsFailed, l.counts.failed)
	return message.AppendInstant(b, reloadsAsked, l.asked, boot)
}

// restore adds the reloads of another process. One that was asked for since this process has
// begun is done again: this one may have read its files before they were changed.
func (l *reloads) restore(b []byte, boot time.Time) error {
	var old reloadCounts
	var asked time.Time
	r, err := message.ReadVersion(b, reloadsVersion, reloadsVersion)
	for err == nil && r.Next() {
		switch r.Number() {
		case reloadsSucceeded:
			old.succeeded = message.Uint[uint64](&r)
		case reloadsFailed:
			old.failed = message.Uint[uint64](&r)
		case reloadsAsked:
			asked = r.Instant(boot)
		}
	}
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return fmt.Errorf("snapshot of the reloads: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.succeeded += old.succeeded
	l.counts.failed += old.failed
	if asked.After(processBegan) {
		l.again()
	}
	return nil
}

// snapshotParts returns the parts of a snapshot by their numbers.
func snapshotParts(b []byte) (map[message.Number][]byte, error) {
	b, count, err := message.Unseal(b)
	if err != nil {
		return nil, err
	}
	r, err := message.ReadVersion(b, snapshotVersion, snapshotVersion)
	if err != nil {
		return nil, err
	}
	parts := make(map[message.Number][]byte)
	for r.Next() {
		if parts[r.Number()] != nil {
			r.Refuse("a part twice")
		}
		parts[r.Number()] = r.Bytes()
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if uint32(len(parts)) != count {
		return nil, errors.New("parts are missing")
	}
	return parts, nil
}
