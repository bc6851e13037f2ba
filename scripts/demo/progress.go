//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// traffic is what the relay's API says of all shards together.
type traffic struct {
	Sessions    uint64
	KernelDrops uint64 `json:"kernel_drops"`
	Drops       map[string]uint64
	SendDrops   map[string]uint64 `json:"send_drops"`
	Counters    map[string]uint64
}

// dropped is all that went nowhere, whatever the reason.
func (t *traffic) dropped() (sum uint64) {
	for _, drops := range []map[string]uint64{t.Drops, t.SendDrops} {
		for _, n := range drops {
			sum += n
		}
	}
	return sum + t.KernelDrops
}

// ask reads an answer of the relay's API.
func (d *demo) ask(path string, answer any) error {
	request, err := http.NewRequestWithContext(d.ctx, http.MethodGet, d.api+path, nil)
	if err != nil {
		return fmt.Errorf("ask the relay: %w", err)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the relay: %w", err)
	}
	defer reply.Body.Close()
	if err := json.NewDecoder(reply.Body).Decode(answer); err != nil {
		return fmt.Errorf("read the relay's answer: %w", err)
	}
	return nil
}

// watch shows a line per second until all that was sent has arrived, and kills
// an origin on the way.
func (d *demo) watch() error {
	fmt.Println()
	fmt.Println("         origins  sessions   callers -> origins        origins -> callers        dropped")
	limit := time.Now().Add((clipSeconds + 15) * time.Second)
	before := new(traffic)
	for seconds := 1; ; seconds++ {
		if err := d.oneSecond(); err != nil {
			return err
		}
		var shards struct{ Data struct{ Total traffic } }
		var backends struct{ Data struct{ Alive int } }
		if err := errors.Join(d.ask("/api/v1/shards", &shards), d.ask("/api/v1/backends", &backends)); err != nil {
			return err
		}
		now := &shards.Data.Total
		d.say("%7d  %8d   %s   %s   %7d", backends.Data.Alive, now.Sessions,
			second(now, before, "forwarded_to_backend"), second(now, before, "forwarded_to_caller"), now.dropped())
		before = now
		switch {
		case seconds == killAfter:
			if err := d.failOver(d.streams[0]); err != nil {
				return err
			}
		case seconds > killAfter && d.allArrived():
			fmt.Println()
			return nil
		case time.Now().After(limit):
			return fmt.Errorf("what was sent has not all arrived: %s", d.missing())
		}
	}
}

// oneSecond passes unless something goes wrong meanwhile.
func (d *demo) oneSecond() error {
	for _, p := range d.running {
		if p.ended() && !p.gone {
			return fmt.Errorf("the %s has ended: %v", p.name, p.err)
		}
	}
	select {
	case err := <-d.wrong:
		return err
	case <-d.ctx.Done():
		return d.ctx.Err()
	case <-time.After(time.Second):
		return nil
	}
}

// second is what went one way within the last second.
func second(now, before *traffic, counter string) string {
	packets := now.Counters[counter] - before.Counters[counter]
	size := now.Counters[counter+"_bytes"] - before.Counters[counter+"_bytes"]
	return fmt.Sprintf("%5d packets %9s", packets, bytesText(size))
}

// bytesText is a size for people.
func bytesText(n uint64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.2f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}
