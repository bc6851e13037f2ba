package redis

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// SessionOwner is a relay that has sessions of a key.
type SessionOwner struct {
	// At is its address for datagrams that are passed on; the zero value if no other relay
	// has any.
	At netip.AddrPort
	// Callers are those of its sessions.
	Callers []netip.AddrPort
}

// Has reports whether one of the sessions has a caller.
func (o *SessionOwner) Has(caller netip.AddrPort) bool { return slices.Contains(o.Callers, caller) }

// Find returns which other relay has sessions of each key. If several have, the one with
// the caller of the same index comes first. It fails at once while Redis is away.
func (s *Sessions) Find(ctx context.Context, keys []SessionKey, callers []netip.AddrPort) ([]SessionOwner, error) {
	if !s.b.circuit.closed() {
		_, _, detail := s.b.circuit.state()
		return nil, fmt.Errorf("find sessions: %s", detail)
	}
	s.mu.Lock()
	others := s.others
	s.mu.Unlock()
	found := make([]SessionOwner, len(keys))
	if len(others) == 0 {
		return found, nil
	}
	fields := make([]any, len(keys), len(keys)+1)
	for i, k := range keys {
		fields[i] = k.field()
	}
	fields = append(fields, maxCallersText)
	limited, cancel := context.WithTimeout(ctx, s.b.waits.pick)
	defer cancel()
	got := make([]*goredis.Cmd, len(others))
	err := s.b.pipeline(limited, func(p goredis.Pipeliner) {
		for i, at := range others {
			got[i] = p.Eval(limited, findText, []string{sessionsPrefix + at}, fields...)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("find sessions: %w", err)
	}
	for i, at := range others {
		to := netip.MustParseAddrPort(at) // renew has checked it
		all, _ := got[i].Val().([]any)
		for k, v := range all[:min(len(all), len(keys))] {
			text, _ := v.(string)
			if o := (SessionOwner{to, parseCallers(text)}); len(o.Callers) > 0 && !found[k].Has(callers[k]) {
				found[k] = o
			}
		}
	}
	return found, nil
}

// findText reads sessions: their callers, or nothing for a text that is too long or for a key
// of another type. It is so short that it is sent each time, in one round trip for all relays.
//
// KEYS[1] is the hash, the last argument the longest text, the others are fields.
const findText = `
local longest, all = tonumber(table.remove(ARGV)), {}
for from = 1, #ARGV, 500 do
  local got = redis.pcall('HMGET', KEYS[1], unpack(ARGV, from, math.min(from + 499, #ARGV)))
  if got.err then return {} end
  for i = 1, #got do
    all[#all + 1] = got[i] and #got[i] <= longest and got[i] or ''
  end
end
return all
`

// parseCallers reads what callersText writes. What cannot be read is left out.
func parseCallers(text string) (all []netip.AddrPort) {
	if len(text) > maxCallersText {
		return nil
	}
	for one := range strings.SplitSeq(text, " ") {
		if a, err := netip.ParseAddrPort(one); err == nil {
			all = append(all, a)
		}
	}
	return all
}
