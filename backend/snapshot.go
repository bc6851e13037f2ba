package backend

import (
	"time"

	"srtrelay/internal/message"
)

// snapshotVersion is the version of what Registry.AppendSnapshot writes.
const snapshotVersion = 1

// Fields of the snapshot of a Registry.
const (
	registryBackend  message.Number = 2
	registryName     message.Number = 3
	registryReplaced message.Number = 4
)

// Fields of a Backend and its liveness.
const (
	backendID           message.Number = 1
	backendSource       message.Number = 2
	backendHost         message.Number = 3
	backendAddr         message.Number = 4
	backendProblem      message.Number = 5
	backendLeftAt       message.Number = 6
	backendBackup       message.Number = 7
	backendKeyLen       message.Number = 8
	backendDown         message.Number = 9
	backendGone         message.Number = 10
	backendSuspect      message.Number = 11
	backendDraining     message.Number = 12
	backendWeight       message.Number = 13
	backendExpires      message.Number = 14
	backendRegistration message.Number = 15
	backendAdded        message.Number = 16
	backendAnswered     message.Number = 17
	backendLastBeat     message.Number = 18
	backendLastAnswer   message.Number = 19
	backendDue          message.Number = 20
	backendPublished    message.Number = 21
	backendOrdered      message.Number = 22
	backendOrderedBy    message.Number = 23
)

// Fields of a Registration.
const (
	registrationIP      message.Number = 1
	registrationDevice  message.Number = 2
	registrationServer  message.Number = 3
	registrationService message.Number = 4
	registrationPID     message.Number = 5
	registrationRTMP    message.Number = 6 // this and the next ones repeated
	registrationHTTP    message.Number = 7
	registrationAPI     message.Number = 8
	registrationSRT     message.Number = 9
	registrationRTC     message.Number = 10
)

// Fields of a name of the configuration, and of one of its addresses.
const (
	nameHost    message.Number = 1
	nameAddress message.Number = 2

	foundAddr   message.Number = 1
	foundWeight message.Number = 2
	foundBackup message.Number = 3
)

// Fields of a process that was replaced.
const (
	replacedID message.Number = 1
	replacedAt message.Number = 2
)

// AppendSnapshot appends all that another process needs to know the same backends: also
// whether they are alive, so that it need not probe them first. boot is when
// CLOCK_MONOTONIC was 0, by the clock of this process.
func (r *Registry) AppendSnapshot(b []byte, boot time.Time) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	b = message.AppendVersion(b, snapshotVersion)
	all := r.Snapshot().Backends
	for i := range all {
		out, mark := message.Open(b, registryBackend)
		out = all[i].append(out, boot)
		b = message.Close(r.liveness[all[i].ID].append(out, boot), mark)
	}
	for host, n := range r.names {
		out, mark := message.Open(b, registryName)
		b = message.Close(n.append(message.AppendBytes(out, nameHost, host)), mark)
	}
	for id, at := range r.replaced {
		out, mark := message.Open(b, registryReplaced)
		out = message.AppendBytes(out, replacedID, id)
		b = message.Close(message.AppendInstant(out, replacedAt, at, boot), mark)
	}
	return b
}

func (b *Backend) append(to []byte, boot time.Time) []byte {
	to = message.AppendBytes(to, backendID, b.ID)
	to = message.AppendBytes(to, backendSource, b.Source)
	to = message.AppendBytes(to, backendHost, b.Host)
	if b.Addr.IsValid() {
		to = message.AppendBytes(to, backendAddr, b.Addr.String())
	}
	to = message.AppendBytes(to, backendProblem, b.Problem)
	to = message.AppendInstant(to, backendLeftAt, b.LeftAt, boot)
	to = message.AppendUint(to, backendBackup, b.Backup)
	to = message.AppendUint(to, backendKeyLen, b.KeyLen)
	to = message.AppendBool(to, backendDown, b.Down)
	to = message.AppendBool(to, backendGone, b.Gone)
	to = message.AppendBool(to, backendSuspect, b.Suspect)
	to = message.AppendBool(to, backendDraining, b.Draining)
	to = message.AppendUint(to, backendWeight, uint64(max(b.Weight, 1)))
	to = message.AppendUint(to, backendOrdered, uint64(max(b.OrderedWeight, 0)))
	to = message.AppendBytes(to, backendOrderedBy, b.OrderedBy)
	to = message.AppendInstant(to, backendExpires, b.Expires, boot)
	if b.Registration != nil {
		out, mark := message.Open(to, backendRegistration)
		to = message.Close(b.Registration.append(out), mark)
	}
	to = message.AppendInstant(to, backendAdded, b.Added, boot)
	return message.AppendInstant(to, backendAnswered, b.Answered, boot)
}

// append appends a liveness, which may be nil.
func (p *liveness) append(to []byte, boot time.Time) []byte {
	if p == nil {
		return to
	}
	to = message.AppendInstant(to, backendLastBeat, p.heartbeat, boot)
	to = message.AppendInstant(to, backendLastAnswer, p.answered, boot)
	to = message.AppendInstant(to, backendDue, p.due, boot)
	return message.AppendInstant(to, backendPublished, p.published, boot)
}

func (g *Registration) append(to []byte) []byte {
	to = message.AppendBytes(to, registrationIP, g.IP)
	to = message.AppendBytes(to, registrationDevice, g.Device)
	to = message.AppendBytes(to, registrationServer, g.Server)
	to = message.AppendBytes(to, registrationService, g.Service)
	to = message.AppendBytes(to, registrationPID, g.PID)
	for k, list := range [][]string{g.RTMP, g.HTTP, g.API, g.SRT, g.RTC} {
		for _, entry := range list {
			to = message.AppendEntry(to, registrationRTMP+message.Number(k), entry)
		}
	}
	return to
}

func (n *named) append(to []byte) []byte {
	for _, f := range n.found {
		out, mark := message.Open(to, nameAddress)
		out = message.AppendBytes(out, foundAddr, f.addr.String())
		out = message.AppendUint(out, foundWeight, uint64(f.weight))
		to = message.Close(message.AppendUint(out, foundBackup, f.backup), mark)
	}
	return to
}
