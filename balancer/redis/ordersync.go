package redis

import (
	"context"
	"fmt"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"srtrelay/backend"
)

// keepBatch is how many lost orders are written back in one script.
const keepBatch = 200

// OrderDrain sets whether a backend, or all backends of a name, get no new streams, at all
// relays. It has effect here at once; shared is false if Redis is to get the order later.
// known is false if there is no such backend.
func (b *Balancer) OrderDrain(ctx context.Context, id backend.ID, draining bool) (known, shared bool) {
	return b.order(ctx, orderKey{orderDrain, id}, orderText{Draining: draining}, func() bool {
		return b.registry.SetDraining(id, draining)
	})
}

// OrderWeight sets the share of new streams of a backend, or of each backend of a name, at
// all relays; 0 for the configured one. It has effect here at once, as OrderDrain.
func (b *Balancer) OrderWeight(ctx context.Context, id backend.ID, weight int) (known, shared bool) {
	return b.order(ctx, orderKey{orderWeight, id}, orderText{Weight: weight}, func() bool {
		return b.registry.OrderWeight(id, weight)
	})
}

func (b *Balancer) order(ctx context.Context, k orderKey, text orderText, set func() bool) (known, shared bool) {
	text.Relay, text.Name = b.RelayID(), b.orders.name()
	if at, ok := b.registry.Snapshot().Find(k.id); ok && at.Source == backend.SourceStatic && at.Addr.IsValid() {
		text.Addr = at.Addr.String()
	}
	v := b.orders.add(k, text) // first, or the last round's orders come after it
	if !set() {
		b.orders.drop(v)
		return false, false
	}
	if !b.circuit.closed() || b.handover.isPaused() {
		return true, false
	}
	limited, cancel := context.WithTimeout(ctx, b.waits.pick)
	defer cancel()
	if err := b.writeOrder(limited, v); err != nil {
		b.log.Warn("order not shared yet", "backend", string(k.id), "error", err)
		return true, false
	}
	return true, true
}

// writeOrder writes an order to Redis.
func (b *Balancer) writeOrder(ctx context.Context, v order) error {
	b.orders.mu.Lock()
	highest := b.orders.highest()
	b.orders.mu.Unlock()
	args := []any{maxRevision, revisionField, maxOrders, highest, newRelayID(), v.field(), v.text(), writtenField, v.ID, maxWritten}
	for _, old := range b.orders.superfluous() {
		args = append(args, old.field(), old.revision)
	}
	text, err := orderScript.Run(ctx, b.client, []string{ordersKey}, args...).Text()
	if err != nil {
		return fmt.Errorf("write an order: %w", err)
	}
	revision, _ := splitRevision(text)
	if revision == 0 {
		return fmt.Errorf("write an order: revision %q", text)
	}
	b.orders.written(v, revision)
	return nil
}

// syncOrders is the orders' part of a round: it reads those of other relays, applies all,
// and writes those that Redis does not have.
func (b *Balancer) syncOrders(ctx context.Context) error {
	o := b.orders
	if o.pause > 0 {
		o.pause--
		b.applyOrders()
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, b.waits.sync)
	defer cancel()
	lost, err := b.readOrders(limited)
	b.applyOrders()
	if err == nil && !b.handover.isPaused() {
		err = b.keepOrders(limited, lost)
		for _, v := range o.queue() {
			if err == nil {
				err = b.writeOrder(limited, v)
			}
		}
	}
	switch {
	case err == nil:
		if o.refused {
			o.refused = false
			b.log.Info("drains and weights are shared again")
		}
		return nil
	case !isRefusal(err):
		return err
	}
	o.pause = refusedRounds
	if !o.refused {
		o.refused = true
		b.log.Warn("redis refuses drains and weights; those of an operator hold at one relay only", "error", err)
	}
	return nil
}

// readOrders reads the orders, unless their revision is still the same, and returns those
// that Redis has lost.
func (b *Balancer) readOrders(ctx context.Context) (lost []order, err error) {
	o := b.orders
	o.mu.Lock()
	known := o.revision
	if o.rounds++; o.rounds >= rereadRounds {
		known = ""
	}
	o.mu.Unlock()
	got, err := ordersScript.Run(ctx, b.client, []string{ordersKey}, known, revisionField, maxOrders, maxOrder, maxKey, writtenField).StringSlice()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the orders: %w", err)
	case len(got) == 0:
		return nil, fmt.Errorf("read the orders: %w", errReply)
	case len(got) == 1:
		return nil, nil
	}
	var read []order
	unreadable := 0
	for rest := got[1:]; len(rest) >= 2; rest = rest[2:] {
		v, ok := parseOrder(rest[0], rest[1])
		if !ok {
			unreadable++
			continue
		}
		v.Addr = parseAddr(v.Addr)
		read = append(read, v)
	}
	if unreadable > o.unreadable {
		b.log.Warn("orders in redis that cannot be read", "count", unreadable)
	}
	return o.merge(got[0], read, unreadable), nil
}

// keepOrders writes orders back that Redis has lost.
func (b *Balancer) keepOrders(ctx context.Context, lost []order) error {
	for batch := range slices.Chunk(lost, keepBatch) {
		args := []any{revisionField, newRelayID()}
		for _, v := range batch {
			args = append(args, v.field(), v.revision, v.text())
		}
		if err := keepScript.Run(ctx, b.client, []string{ordersKey}, args...).Err(); err != nil {
			return fmt.Errorf("write orders back: %w", err)
		}
	}
	return nil
}

// applyOrders gives the backends what is ordered. It costs nothing while neither backends
// nor orders have changed.
func (b *Balancer) applyOrders() {
	o := b.orders
	o.mu.Lock()
	defer o.mu.Unlock() // an order of this relay's operator must not come in between
	snap := b.registry.Snapshot()
	if o.appliedTo == snap && o.applied == o.version || len(o.known)+len(o.pending) == 0 {
		return
	}
	all, own := o.effective(), b.RelayID()
	b.registry.Adjust(func(at *backend.Backend) {
		name := backend.ID(strings.TrimPrefix(b.names.keyOf(*at), serverPrefix))
		drain, drains := all.find(orderDrain, at, name)
		weight, weighs := all.find(orderWeight, at, name)
		if drains && at.Draining != drain.Draining {
			at.Drain(drain.Draining, drain.from(own))
			b.log.Info("backend draining set", "backend", string(at.ID), "draining", at.Draining, "by_relay", drain.from(own))
		}
		if weighs && at.OrderedWeight != weight.Weight {
			at.Weigh(weight.Weight, weight.from(own))
			b.log.Info("backend weight set", "backend", string(at.ID), "weight", at.Share(), "by_relay", weight.from(own))
		}
	})
	o.appliedTo, o.applied = snap, o.version // what came after snap is seen in the next round
}

// from returns the name of the relay whose operator has given an order, "" for this relay.
func (o *order) from(own string) string {
	switch {
	case o.Relay == own:
		return ""
	case o.Name != "":
		return clipped(o.Name)
	}
	return clipped(o.Relay)
}

// clipped limits a name from another relay.
func clipped(name string) string { return name[:min(len(name), maxRelayID)] }

// orderScript writes an order with the next revision, which it returns, unless it was written
// before: then it returns the revision of that time. It removes lifted orders that are too many.
//
// KEYS[1] is the hash, ARGV[1] the largest revision, ARGV[2] the field of the revision,
// ARGV[3] the most fields, ARGV[4] the highest revision that the relay knows, ARGV[5] the
// epoch of a hash that is begun anew, ARGV[6] the order's field, ARGV[7] the order, ARGV[8] the
// field of the orders that were written, ARGV[9] the order's ID, ARGV[10] how many are kept. The
// rest are fields and the revision at which each is to be removed.
var orderScript = goredis.NewScript(`
local text = redis.call('HGET', KEYS[1], ARGV[2]) or ''
local last = tonumber(string.match(text, '^%d+') or '0')
local epoch = string.match(text, '^%d+ (%x+)$') or ARGV[5]
if last >= tonumber(ARGV[1]) then last = 0 end
local keep, written, former = tonumber(ARGV[10]), {}, redis.call('HGET', KEYS[1], ARGV[8]) or ''
if #former > 64 * keep then former = '' end
for id, at in string.gmatch(former, '(%x+):(%d+)') do
  if id == ARGV[9] then return at end
  written[#written + 1] = id .. ':' .. at
end
for i = 11, #ARGV, 2 do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  if old and string.match(old, '^%d+') == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return redis.error_reply('ERR too many orders') end
local after = math.max(last, tonumber(ARGV[4])) + 1
if after > tonumber(ARGV[1]) then return redis.error_reply('ERR no revision is left') end
local next = string.format('%.0f', after)
redis.call('HSET', KEYS[1], ARGV[6], next .. ' ' .. ARGV[7])
redis.call('HSET', KEYS[1], ARGV[2], next .. ' ' .. epoch)
written[#written + 1] = ARGV[9] .. ':' .. next
redis.call('HSET', KEYS[1], ARGV[8], table.concat(written, ' ', math.max(#written - keep + 1, 1)))
return next
`)

// ordersScript reads the orders. It returns the revision, and the field and the text of each
// order unless the revision is the one that the relay knows.
//
// KEYS[1] is the hash, ARGV[1] the revision that is known, ARGV[2] its field, ARGV[3] the
// most orders to return, ARGV[4] the longest order, ARGV[5] the longest ID, ARGV[6] another
// field that is no order.
var ordersScript = goredis.NewScript(`
local last = redis.call('HGET', KEYS[1], ARGV[2]) or ''
if #last > 64 then last = '' end
if last ~= '' and last == ARGV[1] then return {last} end
local all, cursor, seen = {last}, '0', 0
repeat
  local got = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 512)
  cursor = got[1]
  for i = 1, #got[2], 2 do
    local field, text = got[2][i], got[2][i + 1]
    seen = seen + 1
    if field ~= ARGV[2] and field ~= ARGV[6] and #field <= tonumber(ARGV[5]) + 8 and #text <= tonumber(ARGV[4]) then
      all[#all + 1] = field
      all[#all + 1] = text
    end
  end
until cursor == '0' or seen >= tonumber(ARGV[3])
all[#all + 1] = 'end'
return all
`)

// keepScript writes orders back unless Redis has later ones.
//
// KEYS[1] is the hash, ARGV[1] the field of the revision, ARGV[2] the epoch of a hash that is
// begun anew; the rest are field, revision and text of each order.
var keepScript = goredis.NewScript(`
local text = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local last = tonumber(string.match(text, '^%d+') or '0')
local epoch = string.match(text, '^%d+ (%x+)$') or ARGV[2]
local function revision(text) return tonumber(string.match(text or '', '^%d+') or '0') end
for i = 3, #ARGV, 3 do
  local at = tonumber(ARGV[i + 1])
  if revision(redis.call('HGET', KEYS[1], ARGV[i])) < at then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
  end
  last = math.max(last, at)
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', last) .. ' ' .. epoch)
return 1
`)
