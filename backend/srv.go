package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// maxTargets is the most SRV records of a name that are used.
const maxTargets = 1024

// findSRV looks up the SRV records of a name and the addresses of their targets. A
// target whose own look-up fails keeps the addresses that it had: one name among many
// that is broken must not hold up the others.
func (l *nameLoop) findSRV(ctx context.Context) ([]foundAt, error) {
	var records []*net.SRV
	err := l.ask(ctx, func(ctx context.Context) (err error) {
		_, records, err = l.options.LookupSRV(ctx, "", "", l.name)
		return err
	})
	// Beside an error are the records that can be used.
	records = slices.DeleteFunc(records, func(s *net.SRV) bool { return s.Port == 0 || strings.Trim(s.Target, ".") == "" })
	switch {
	case len(records) == 0 && err != nil:
		return nil, errors.New(doesNotResolve + reasonOf(err))
	case len(records) == 0:
		return nil, errors.New(doesNotResolve + "no SRV record")
	}
	records = records[:min(len(records), maxTargets)]
	answers, failed := l.findTargets(ctx, records)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	kept := make(map[string][]foundAt)
	var all []foundAt
	share, ranks := weightDivisor(records), priorities(records)
	for i, s := range records {
		key := fmt.Sprintf("%s:%d", s.Target, s.Port)
		if answers[i] == nil {
			answers[i] = l.targets[key]
		}
		kept[key] = answers[i]
		for _, f := range answers[i] {
			f.weight, f.backup = max(int(s.Weight)/share, 1), uint8(min(slices.Index(ranks, s.Priority), 255))
			if !slices.ContainsFunc(all, func(o foundAt) bool { return o.addr == f.addr }) {
				all = append(all, f)
			}
		}
	}
	l.targets = kept
	if len(all) == 0 {
		return nil, failed
	}
	return all, nil
}

// findTargets looks up the addresses of each record's target, nil where that failed. The
// error is of one of these.
func (l *nameLoop) findTargets(ctx context.Context, records []*net.SRV) (answers [][]foundAt, failed error) {
	answers = make([][]foundAt, len(records))
	errs := make([]error, len(records))
	lookUps := l.options.Supervisor.Tasks()
	for i, s := range records {
		lookUps.Go("name look-up", func() {
			errs[i] = errors.New("panic") // if the next line does not return
			answers[i], errs[i] = l.findAddrs(ctx, s.Target, s.Port)
		})
	}
	lookUps.Wait()
	for i, err := range errs {
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w", strings.TrimSuffix(records[i].Target, "."), err)
		}
	}
	return answers, failed
}

// priorities returns the priorities that there are, the first choice first.
func priorities(records []*net.SRV) (all []uint16) {
	for _, s := range records {
		all = append(all, s.Priority)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// weightDivisor returns what the weights of records have in common. Divided by it they
// are comparable to those of other backends, most of which are 1.
func weightDivisor(records []*net.SRV) (common int) {
	for _, s := range records {
		for a := int(s.Weight); a > 0; {
			common, a = a, common%a
		}
	}
	return max(common, 1)
}
