package balancer

import (
	"srtrelay/backend"
	"srtrelay/internal/message"
)

func (d *decoder) lease() {
	var l leased
	var number backend.Lease
	r := message.Read(d.Bytes()) // not by each: there may be a hundred thousand
	for r.Next() {
		switch r.Number() {
		case leaseNumber:
			number = message.Uint[backend.Lease](&r)
		case leaseAt:
			l.at = d.at(&r)
		case leaseGroup:
			l.group = d.bound(&r)
		case leaseStream:
			l.stream = d.bound(&r)
		case leaseCaller:
			l.who.caller = message.Uint[uint64](&r)
		case leaseSource:
			l.who.source = message.Uint[uint64](&r)
		case leaseRequest:
			l.who.request = message.Uint[uint64](&r)
		case leasePublish:
			l.publish = r.Bool()
		case leaseChosen:
			l.chosen = r.Bool()
		case leaseEstablished:
			l.established = r.Bool()
		case leaseSurvived:
			l.survived = r.Bool()
		case leaseProven:
			l.proven = r.Bool()
		case leaseTrial:
			l.trial = r.Bool()
		}
	}
	d.Fail(r.Err())
	if l.at == "" {
		d.Refuse("a lease without a backend")
	}
	if d.slot(number, &l); d.Err() != nil {
		return
	}
	d.state.load[l.at]++
	for _, b := range []*binding{l.group, l.stream} {
		if b == nil {
			continue
		}
		if b.addSession(l.at); l.established {
			b.establish(l)
		}
	}
}

// slot sets the slot of a lease, each once.
func (d *decoder) slot(lease backend.Lease, l *leased) {
	i, use := uint32(lease)-1, uint32(lease>>32)
	slots := &d.state.leases.slots
	if uint64(i) >= uint64(slots.Len()) || use == 0 || slots.At(i).use != 0 {
		d.Refuse("no lease of its own")
		return
	}
	l.use = use
	*slots.At(i) = *l
	d.used++
}

func (d *decoder) free() {
	lease := message.Uint[backend.Lease](d.Reader)
	if d.slot(lease, new(leased)); d.Err() == nil {
		d.state.leases.free = append(d.state.leases.free, uint32(lease)-1)
	}
}

func (d *decoder) youngSession() {
	var s youngSession
	k := 0
	d.each(func(r *message.Reader) {
		switch r.Number() {
		case youngMilestone:
			if k = small(r); k >= len(milestones) {
				r.Refuse("no such milestone")
				k = 0
			}
		case youngLease:
			s.lease = message.Uint[backend.Lease](r)
		case youngBegun:
			s.begun = age(r)
		}
	})
	d.state.young[k] = append(d.state.young[k], s)
}

func (d *decoder) recentPlacements() {
	var id backend.ID
	var n decaying
	d.each(func(r *message.Reader) {
		switch r.Number() {
		case recentAt:
			id = d.at(r)
		case recentCount:
			if n.n = r.Float(); n.n < 0 || n.n > maxCount {
				r.Refuse("no count")
			}
		case recentSince:
			n.at = age(r)
		}
	})
	if id != "" {
		d.state.recent[id] = n
	}
}
