package backend

import (
	"errors"
	"net/netip"
	"time"

	"srtrelay/internal/message"
)

// maxRestored is the most backends of a snapshot: more than heartbeats, a shared store
// and names may make together, and leaves as many for the configuration.
const maxRestored = 4 * (MaxRegistered + maxFollowed)

func readSnapshot(b []byte, boot time.Time) (*restored, error) {
	old := &restored{liveness: make(map[ID]*liveness), names: make(map[string][]foundAt), replaced: make(map[ID]time.Time)}
	r, err := message.ReadVersion(b, snapshotVersion, snapshotVersion)
	if err != nil {
		return nil, err
	}
	seen := make(map[ID]bool)
	for r.Next() {
		switch r.Number() {
		case registryBackend:
			b, p := readBackend(&r, boot)
			if seen[b.ID] || len(seen) >= maxRestored {
				r.Refuse("a backend twice, or too many")
			}
			seen[b.ID] = true
			old.backends = append(old.backends, b)
			if *p != (liveness{}) {
				old.liveness[b.ID] = p
			}
		case registryName:
			old.readName(&r)
		case registryReplaced:
			old.readReplaced(&r, boot)
		}
	}
	return old, r.Err()
}

// readBackend reads a backend and its liveness.
func readBackend(in *message.Reader, boot time.Time) (b Backend, p *liveness) {
	p = new(liveness)
	r := message.Read(in.Bytes())
	for r.Next() {
		switch r.Number() {
		case backendID:
			b.ID = ID(r.String())
		case backendSource:
			b.Source = Source(r.String())
		case backendHost:
			b.Host = r.String()
		case backendAddr:
			b.Addr = readAddr(&r)
		case backendProblem:
			b.Problem = clip(r.String())
		case backendBackup:
			b.Backup = message.Uint[uint8](&r)
		case backendKeyLen:
			b.KeyLen = message.Uint[uint16](&r)
		case backendDown:
			b.Down = r.Bool()
		case backendGone:
			b.Gone = r.Bool()
		case backendSuspect:
			b.Suspect = r.Bool()
		case backendDraining:
			b.Draining = r.Bool()
		case backendWeight:
			b.Weight = int(message.Uint[uint16](&r))
		case backendOrdered:
			b.OrderedWeight = int(message.Uint[uint16](&r))
		case backendOrderedBy:
			b.OrderedBy = clip(r.String())
		case backendRegistration:
			b.Registration = readRegistration(&r)
		default:
			readTimes(&r, &b, p, boot)
		}
	}
	in.Fail(r.Err())
	in.Fail(b.check())
	return b, p
}

func readTimes(r *message.Reader, b *Backend, p *liveness, boot time.Time) {
	switch r.Number() {
	case backendLeftAt:
		b.LeftAt = r.Instant(boot)
	case backendExpires:
		b.Expires = r.Instant(boot)
	case backendAdded:
		b.Added = r.Instant(boot)
	case backendAnswered:
		b.Answered = r.Instant(boot)
	case backendLastBeat:
		p.heartbeat = r.Instant(boot)
	case backendLastAnswer:
		p.answered = r.Instant(boot)
	case backendDue:
		p.due = r.Instant(boot)
	case backendPublished:
		p.published = r.Instant(boot)
	}
}

// check returns what is wrong with a backend that was read.
func (b *Backend) check() error {
	switch {
	case b.ID == "" || b.Weight < 1:
		return errors.New("a backend without an ID or a weight")
	case b.Source == SourceStatic:
		if b.Host == "" {
			return errors.New("a static backend without a host")
		}
	case b.Source != SourceRegistered && b.Source != SourceShared:
		return errors.New("a backend of no known source")
	case !b.Addr.IsValid() || b.Registration == nil || b.ID != b.Registration.ID():
		return errors.New("a backend without its address or its registration")
	}
	return nil
}

func readAddr(r *message.Reader) netip.AddrPort {
	at, err := netip.ParseAddrPort(r.String())
	r.Fail(err)
	return at
}

func readRegistration(in *message.Reader) *Registration {
	g := new(Registration)
	r := message.Read(in.Bytes())
	for r.Next() {
		switch r.Number() {
		case registrationIP:
			g.IP = r.String()
		case registrationDevice:
			g.Device = r.String()
		case registrationServer:
			g.Server = r.String()
		case registrationService:
			g.Service = r.String()
		case registrationPID:
			g.PID = r.String()
		case registrationRTMP:
			g.RTMP = append(g.RTMP, r.String())
		case registrationHTTP:
			g.HTTP = append(g.HTTP, r.String())
		case registrationAPI:
			g.API = append(g.API, r.String())
		case registrationSRT:
			g.SRT = append(g.SRT, r.String())
		case registrationRTC:
			g.RTC = append(g.RTC, r.String())
		}
	}
	in.Fail(r.Err())
	in.Fail(g.Check())
	return g
}

func (old *restored) readName(in *message.Reader) {
	host := ""
	var found []foundAt
	r := message.Read(in.Bytes())
	for r.Next() {
		switch r.Number() {
		case nameHost:
			host = r.String()
		case nameAddress:
			found = append(found, readFound(&r))
		}
	}
	in.Fail(r.Err())
	old.names[host] = found
}

func readFound(in *message.Reader) (f foundAt) {
	r := message.Read(in.Bytes())
	for r.Next() {
		switch r.Number() {
		case foundAddr:
			f.addr = readAddr(&r)
		case foundWeight:
			f.weight = int(message.Uint[uint16](&r))
		case foundBackup:
			f.backup = message.Uint[uint8](&r)
		}
	}
	in.Fail(r.Err())
	return f
}

func (old *restored) readReplaced(in *message.Reader, boot time.Time) {
	var id ID
	var at time.Time
	r := message.Read(in.Bytes())
	for r.Next() {
		switch r.Number() {
		case replacedID:
			id = ID(r.String())
		case replacedAt:
			at = r.Instant(boot)
		}
	}
	in.Fail(r.Err())
	if len(old.replaced) < MaxRegistered {
		old.replaced[id] = at
	}
}
