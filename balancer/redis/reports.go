package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"srtrelay/observe/cluster"
)

// Reports of relays to each other, see observe/cluster: the presence of all relays is one
// hash, the summary of a relay's streams a key of its own.
const (
	relaysKey     = "srtrelay-relays"
	summaryPrefix = "srtrelay-relay-streams:"
	// maxListedRelays is how many entries of the hash are read at most, and beyond how
	// many it is begun anew: nobody has so many relays.
	maxListedRelays = 4 * cluster.MaxRelays
	maxRelayEntries = 16 * maxListedRelays
	// maxRelayID is the longest ID that is read, in bytes.
	maxRelayID = 64
	// summariesPerRead is how many summaries are read in one round trip, so that it meets
	// its deadline.
	summariesPerRead = 4
)

// newRelayID returns an ID that no other relay has. A process that takes over keeps that
// of the one before.
func newRelayID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// RelayID implements cluster.Store.
func (b *Balancer) RelayID() string { return *b.relayID.Load() }

// reportsAway returns why no report can be written or read at present. Reports that fail
// do not open the circuit: picks must not suffer from a summary that is long.
func (b *Balancer) reportsAway() error {
	if !b.circuit.closed() {
		_, _, detail := b.circuit.state()
		return fmt.Errorf("%w: %s", cluster.ErrAway, detail)
	}
	return nil
}

// WriteReport implements cluster.Store.
func (b *Balancer) WriteReport(ctx context.Context, info, summary []byte) error {
	if b.handover.isPaused() {
		return nil // another process reports
	}
	if err := b.reportsAway(); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, b.waits.sync)
	defer cancel()
	b.reported.Store(true)
	id := b.RelayID()
	err := reportScript.Run(limited, b.client, []string{relaysKey}, id, info, maxRelayEntries, (2 * cluster.KnownFor).Milliseconds()).Err()
	if err == nil && summary != nil {
		err = b.client.Set(limited, summaryPrefix+id, summary, cluster.StreamsFor).Err()
	}
	if err != nil {
		return fmt.Errorf("write the relay's report: %w", err)
	}
	return nil
}

// RemoveReport implements cluster.Store.
func (b *Balancer) RemoveReport(ctx context.Context) error {
	if !b.reported.Load() || b.handover.isPaused() || !b.circuit.closed() {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, b.waits.pick)
	defer cancel()
	id := b.RelayID()
	return b.pipeline(limited, func(p goredis.Pipeliner) {
		p.HDel(limited, relaysKey, id)
		p.Del(limited, summaryPrefix+id)
	})
}

// ReadReports implements cluster.Store. It also removes reports that are too old.
func (b *Balancer) ReadReports(ctx context.Context) (all []cluster.Stored, leftOut int, err error) {
	if err := b.reportsAway(); err != nil {
		return nil, 0, err
	}
	limited, cancel := context.WithTimeout(ctx, b.waits.sync)
	defer cancel()
	got, err := relaysScript.Run(limited, b.client, []string{relaysKey}, maxListedRelays, cluster.MaxInfo, maxRelayID).StringSlice()
	if err != nil {
		return nil, 0, fmt.Errorf("read the reports of relays: %w", err)
	}
	all, old, leftOut := readReports(got)
	if len(old) > 0 && !b.handover.isPaused() {
		_ = b.client.HDel(limited, relaysKey, old...).Err() // or in the next round
	}
	return all, leftOut, nil
}

// readReports returns what relaysScript has returned, the reports that are too old, and how
// many others cannot be used.
func readReports(got []string) (all []cluster.Stored, old []string, leftOut int) {
	if len(got) < 2 {
		return nil, nil, 0
	}
	now, _ := strconv.ParseInt(got[0], 10, 64) // by the script
	leftOut, _ = strconv.Atoi(got[1])
	seen := make(map[string]bool)
	for rest := got[2:]; len(rest) >= 2; rest = rest[2:] {
		id, text := rest[0], rest[1]
		if seen[id] {
			continue // the hash was being resized
		}
		seen[id] = true
		written, info, _ := strings.Cut(text, " ")
		ms, err := strconv.ParseInt(written, 10, 64)
		age := time.Duration(max(now-ms, 0)) * time.Millisecond
		switch {
		case err != nil, ms < 0, ms-now > cluster.KnownFor.Milliseconds():
			leftOut++
		case now-ms > cluster.KnownFor.Milliseconds():
			old = append(old, id)
		default:
			all = append(all, cluster.Stored{ID: id, Info: []byte(info), Age: age})
		}
	}
	return all, old, leftOut
}

// ReadSummaries implements cluster.Store.
func (b *Balancer) ReadSummaries(ctx context.Context, ids []string) ([][]byte, error) {
	all := make([][]byte, 0, len(ids))
	for len(ids) > 0 {
		if err := b.reportsAway(); err != nil {
			return nil, err
		}
		n := min(len(ids), summariesPerRead)
		texts := make([]*goredis.StringCmd, n)
		err := b.pipeline(ctx, func(p goredis.Pipeliner) {
			for i, id := range ids[:n] {
				texts[i] = p.GetRange(ctx, summaryPrefix+id, 0, cluster.MaxSummary)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("read the streams of relays: %w", err)
		}
		for _, text := range texts {
			b, _ := text.Bytes() // nil for a key of another type
			all = append(all, b)
		}
		ids = ids[n:]
	}
	return all, nil
}

// reportScript writes a relay's presence with the time of Redis.
//
// KEYS[1] is the hash, ARGV[1] the relay's ID, ARGV[2] its presence, ARGV[3] with how many
// entries the hash is begun anew, ARGV[4] its TTL in ms.
var reportScript = goredis.NewScript(`
local t = redis.call('TIME')
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[3]) then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)) .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
`)

// relaysScript reads the presence of relays. It returns the time of Redis in ms, how many
// entries it has left out, and the ID and the text of each other one.
//
// KEYS[1] is the hash, ARGV[1] the most entries to return, ARGV[2] the longest presence,
// ARGV[3] the longest ID.
var relaysScript = goredis.NewScript(`
local t = redis.call('TIME')
local all, left, cursor, seen = {string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)), '0'}, 0, '0', 0
repeat
  local got = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 256)
  cursor = got[1]
  for i = 1, #got[2], 2 do
    local id, text = got[2][i], got[2][i + 1]
    seen = seen + 1
    if #id > tonumber(ARGV[3]) or #text > tonumber(ARGV[2]) + 24 or #all >= 2 * tonumber(ARGV[1]) + 2 then
      left = left + 1
    else
      all[#all + 1] = id
      all[#all + 1] = text
    end
  end
until cursor == '0' or seen > 16 * tonumber(ARGV[1])
all[2] = tostring(left)
return all
`)
