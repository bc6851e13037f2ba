package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
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

// askRelay reads the relay's counters.
func (d *demo) askRelay() (*traffic, error) {
	request, err := http.NewRequestWithContext(d.ctx, http.MethodGet, d.api+"/api/v1/shards", nil)
	if err != nil {
		return nil, fmt.Errorf("ask the relay: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the relay: %w", err)
	}
	defer answer.Body.Close()
	var shards struct{ Data struct{ Total traffic } }
	if err := json.NewDecoder(answer.Body).Decode(&shards); err != nil {
		return nil, fmt.Errorf("read the relay's answer: %w", err)
	}
	return &shards.Data.Total, nil
}

// watch shows a line per second until all that was sent has arrived.
func (d *demo) watch() error {
	fmt.Println()
	fmt.Println("         sessions   callers -> origins        origins -> callers        dropped")
	limit := time.Now().Add((clipSeconds + 10) * time.Second)
	for before := new(traffic); ; {
		if err := d.oneSecond(); err != nil {
			return err
		}
		now, err := d.askRelay()
		if err != nil {
			return err
		}
		d.say("%8d   %s   %s   %7d", now.Sessions,
			second(now, before, "forwarded_to_backend"), second(now, before, "forwarded_to_caller"), now.dropped())
		before = now
		if d.allArrived() {
			fmt.Println()
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("what was sent has not all arrived: %s", d.missing())
		}
	}
}

// oneSecond passes unless something goes wrong meanwhile.
func (d *demo) oneSecond() error {
	for _, p := range d.running {
		select {
		case <-p.done:
			return fmt.Errorf("the %s has ended: %v", p.name, p.err)
		default:
		}
	}
	select {
	case err := <-d.feeding:
		return err
	case <-d.ctx.Done():
		return d.ctx.Err()
	case <-time.After(time.Second):
		return nil
	}
}

func (d *demo) allArrived() bool {
	for _, s := range d.streams {
		if !d.arrived(s) {
			return false
		}
	}
	return true
}

// missing says how far each copy of a stream has come.
func (d *demo) missing() string {
	var all []string
	for _, s := range d.streams {
		copies := d.copies(s)
		for _, who := range slices.Sorted(maps.Keys(copies)) {
			got, err := os.ReadFile(copies[who])
			if err != nil {
				continue
			}
			equal := 0
			for equal < min(len(got), len(s.clip)) && got[equal] == s.clip[equal] {
				equal++
			}
			all = append(all, fmt.Sprintf("%s of %s has %d of %d bytes, right up to byte %d", who, s.name, len(got), len(s.clip), equal))
		}
	}
	return strings.Join(all, ", ")
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
