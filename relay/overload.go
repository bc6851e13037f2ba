package relay

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"srtrelay/api/answer"
	"srtrelay/config"
	"srtrelay/internal/message"
	"srtrelay/internal/supervise"
	"srtrelay/relay/overload"
	"srtrelay/shard"
)

// overloadMonitor reads the inputs, follows the ladder, and has the parts of the relay do
// what its steps say. One goroutine calls sample; any may call the rest.
type overloadMonitor struct {
	follow  func(overload.Step) // what the parts do at a step
	publish func(answer.Event)
	log     *slog.Logger
	current func() *config.Config
	began   time.Time

	mu      sync.Mutex
	on      bool
	ladder  overload.Ladder
	sampler overload.Sampler
	since   time.Time // of the present step
	entered map[overload.Step]uint64
}

// newOverloadMonitor returns a monitor of the relay, whose feed must be open, and its group
// when follow is called.
func newOverloadMonitor(r *relay, follow func(overload.Step)) *overloadMonitor {
	now := time.Now()
	return &overloadMonitor{
		follow: follow, publish: r.sinks.feed.Publish, log: r.log, current: r.reloads.current.Load, began: now,
		on: r.config.Overload, since: now, entered: make(map[overload.Step]uint64),
	}
}

// followOverload has shards and captures do what a step says.
func (r *relay) followOverload(step overload.Step) {
	r.group.SetStep(step)
	r.recorder.Suspend(step >= overload.StepCaptures)
}

// watchOverload samples until ctx ends. While the sessions are another process's it does
// not.
func (r *relay) watchOverload(ctx context.Context) {
	supervise.Every(ctx, overload.Every, func(time.Time) {
		if !r.parked.Load() {
			r.overload.sample(readShards(r.group), overload.ReadMemory(os.DirFS("/"), goMemory(), os.Getpagesize()))
		}
	})
}

// readShards reads what the shards have counted.
func readShards(group *shard.Group) []overload.ShardSample {
	stats, working := group.Stats(), group.Working()
	shards := make([]overload.ShardSample, len(stats))
	for i := range stats {
		v := &stats[i].Values
		received := v[shard.CountReceivedFront] + v[shard.CountReceivedBack]
		forwarded := v[shard.CountForwardedToBackend] + v[shard.CountForwardedToCaller] + v[shard.CountPassedOn]
		inKernel := v[shard.CountKernelToBackend] + v[shard.CountKernelToCaller]
		shards[i] = overload.ShardSample{
			Sessions: v[shard.CountSessions], HalfOpen: v[shard.CountHalfOpen],
			Received: received - min(inKernel, received), Forwarded: forwarded - min(inKernel, forwarded),
			Dropped: v[shard.CountKernelDrops], Working: working[i],
		}
	}
	return shards
}

// goMemory returns the memory of the Go runtime.
func goMemory() overload.GoMemory {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return overload.GoMemory{Limit: limit}
	}
	samples := [...]metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples[:])
	return overload.GoMemory{Used: int64(samples[0].Value.Uint64() - samples[1].Value.Uint64()), Limit: limit}
}

// sample takes one reading of every input.
func (m *overloadMonitor) sample(shards []overload.ShardSample, memory overload.Reading) {
	c := m.current()
	now := time.Since(m.began)
	var readings overload.Readings
	m.mu.Lock()
	m.sampler.Sample(now, shards, overload.Caps{Sessions: c.MaxSessions, HalfOpen: c.MaxHandshakes}, &readings)
	readings[overload.InputMemory] = memory
	changes := m.ladder.Update(now, &readings)
	if !m.on {
		m.ladder.LeaveAll()
		changes = nil
	}
	for _, one := range changes {
		m.note(one)
	}
	step := m.ladder.Step()
	m.mu.Unlock()
	m.follow(step)
	for _, one := range changes {
		m.report(one)
	}
}

// note counts a change. Called with mu held.
func (m *overloadMonitor) note(c overload.Change) {
	m.since = time.Now()
	if c.Entered {
		m.entered[c.Step]++
	}
}

// report writes a change to the log and the feed.
func (m *overloadMonitor) report(c overload.Change) {
	kind, level, text := answer.EventOverloadLeft, slog.LevelInfo, "overload: step left"
	if c.Entered {
		kind, level, text = answer.EventOverloadEntered, slog.LevelWarn, "overload: step entered"
	}
	m.log.Log(context.Background(), level, text, "step", c.Step.String(), "effect", c.Step.Effect(),
		"input", c.Input.String(), "pressure", rounded(c.Pressure), "reading", c.Detail)
	m.publish(answer.Event{
		Time: time.Now().UTC(), Kind: kind, Step: c.Step.String(), Input: c.Input.String(),
		Pressure: rounded(c.Pressure), Cause: c.Detail,
	})
}

// set turns the ladder on or off. Off leaves all steps.
func (m *overloadMonitor) set(on bool) {
	m.mu.Lock()
	was := m.ladder.Step()
	m.on = on
	if !on {
		m.ladder.LeaveAll()
		m.since = time.Now()
	}
	_, input := m.ladder.Pressure()
	m.mu.Unlock()
	if on {
		return
	}
	m.follow(overload.StepNone)
	for step := was; step > overload.StepNone; step-- {
		m.report(overload.Change{Step: step, Input: input, Detail: "--overload off"})
	}
}

// problem returns what the relay has given up, in a line; "" for nothing. full says that it
// takes no callers.
func (m *overloadMonitor) problem() (text string, full bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	step := m.ladder.Step()
	if step == overload.StepNone {
		return "", false
	}
	pressure, input := m.ladder.Pressure()
	_, _, detail := m.ladder.Input(input)
	return fmt.Sprintf("overload: step %s, pressure %.2f by %s: %s", step, pressure, input, detail), step >= overload.StepPublishers
}

// Overload implements api.Overload and metrics.Overload.
func (m *overloadMonitor) Overload() answer.Overload {
	m.mu.Lock()
	defer m.mu.Unlock()
	pressure, input := m.ladder.Pressure()
	a := answer.Overload{On: m.on, Step: m.ladder.Step().String(), Since: m.since.UTC(), Pressure: rounded(pressure)}
	if pressure > 0 {
		a.Input = input.String()
	}
	for _, i := range overload.Inputs() {
		value, known, detail := m.ladder.Input(i)
		one := answer.OverloadInput{Name: i.String(), Detail: detail}
		if known {
			one.Pressure = new(rounded(value))
		}
		a.Inputs = append(a.Inputs, one)
	}
	for _, s := range overload.Steps() {
		a.Steps = append(a.Steps, answer.OverloadStep{
			Name: s.String(), Effect: s.Effect(), EnterAt: s.EnterAt(), LeaveAt: s.LeaveAt(),
			Active: m.ladder.Step() >= s, Entered: m.entered[s],
		})
	}
	return a
}

// rounded keeps three digits of a pressure.
func rounded(p float64) float64 { return math.Round(p*1000) / 1000 }

// Fields of the snapshot of the monitor, and of how often a step was entered.
const (
	overloadStep    message.Number = 2
	overloadEntered message.Number = 3

	enteredStep  message.Number = 1
	enteredCount message.Number = 2
)

const overloadVersion = 1

// appendSnapshot appends the step that the relay is at. A process that takes over begins
// there: its sessions are the same, and so it would be there soon.
func (m *overloadMonitor) appendSnapshot(b []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	b = message.AppendVersion(b, overloadVersion)
	b = message.AppendBytes(b, overloadStep, m.ladder.Step().String())
	for _, s := range overload.Steps() {
		var mark int
		b, mark = message.Open(b, overloadEntered)
		b = message.AppendBytes(b, enteredStep, s.String())
		b = message.Close(message.AppendUint(b, enteredCount, m.entered[s]), mark)
	}
	return b
}

// restore goes on at the step of another process. It must be called before the loops run.
// A process of an earlier version has none.
func (m *overloadMonitor) restore(b []byte) error {
	if b == nil {
		return nil
	}
	step, entered := "", make(map[string]uint64)
	r, err := message.ReadVersion(b, overloadVersion, overloadVersion)
	for err == nil && r.Next() {
		switch r.Number() {
		case overloadStep:
			step = string(r.Bytes())
		case overloadEntered:
			one := message.Read(r.Bytes())
			name, n := "", uint64(0)
			for one.Next() {
				switch one.Number() {
				case enteredStep:
					name = string(one.Bytes())
				case enteredCount:
					n = message.Uint[uint64](&one)
				}
			}
			r.Fail(one.Err())
			entered[name] = n
		}
	}
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return fmt.Errorf("snapshot of the overload ladder: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range overload.Steps() {
		m.entered[s] += entered[s.String()]
		if m.on && s.String() == step {
			m.ladder.Resume(s)
		}
	}
	m.follow(m.ladder.Step())
	return nil
}
