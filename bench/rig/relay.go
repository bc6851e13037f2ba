//go:build linux

package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"srtrelay/api/answer"
	"srtrelay/bench/lab"
	"srtrelay/bench/peers"
)

const (
	// startPatience is enough for a slow machine; a relay starts within a second.
	startPatience = 20 * time.Second
	// poll is the interval at which conditions are polled.
	poll = 50 * time.Millisecond
	// idleTimeout is longer than every stall that sessions must survive, and
	// short enough to wait for.
	idleTimeout = "15s"
)

// Front is where the relay takes callers.
var Front = netip.AddrPortFrom(lab.OriginAddr, peers.Port)

// Relay is a running relay.
type Relay struct {
	Log  *LogReader
	API  *peers.API
	PID  int
	Args []string
	proc *lab.Process
	// command is how to start another one at the same addresses.
	command []string
}

// startRelay returns when callers can connect.
func startRelay(ctx context.Context, origin *lab.Namespace, binary string, servers []netip.AddrPort, flags []string) (*Relay, error) {
	args := []string{
		binary, "--listen", Front.String(), "--api", peers.APIAddr, "--grace", "2s", "--idle-timeout", idleTimeout,
	}
	for _, s := range servers {
		args = append(args, "--backend", "srt://"+s.String())
	}
	args = append(args, flags...)
	r, err := spawn(origin, peers.NewAPI(origin), args)
	if err != nil {
		return nil, err
	}
	if err := r.awaitLive(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// spawn starts a relay's process.
func spawn(origin *lab.Namespace, api *peers.API, command []string) (*Relay, error) {
	log, err := NewLogReader()
	if err != nil {
		return nil, err
	}
	// As operators run it, whatever the environment here says; a flag overrides it.
	proc, err := origin.Start(lab.Program{Label: "srtrelay", Args: command, Env: []string{"SRTRELAY_KERNEL_PATH=auto"}, Stderr: log.w})
	_ = log.w.Close()
	if err != nil {
		log.Die()
		return nil, err
	}
	return &Relay{Log: log, API: api, PID: proc.PID, Args: command[1:], proc: proc, command: command}, nil
}

// await polls a condition until it holds or the relay ends.
func (r *Relay) await(ctx context.Context, patience time.Duration, what string, done func() bool) error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.proc.Done:
			return fmt.Errorf("the relay has ended: %w\n%s", r.proc.Failure(), r.Log.Tail())
		case <-deadline.C:
			return fmt.Errorf("the relay did not %s within %v", what, patience)
		case <-tick.C:
		}
	}
	return nil
}

// Ended reports whether the process is gone.
func (r *Relay) Ended() bool {
	select {
	case <-r.proc.Done:
		return true
	default:
		return false
	}
}

// Signal sends the relay a signal.
func (r *Relay) Signal(s syscall.Signal) error { return r.proc.Signal(s) }

// stop ends the relay as an operator does, and says how it ended.
func (r *Relay) stop() error {
	r.API.Close()
	if r.Ended() {
		r.Log.Die()
		return fmt.Errorf("the relay ended by itself: %w\n%s", r.proc.Failure(), r.Log.Tail())
	}
	r.proc.Stop(10 * time.Second)
	return r.judgeEnd()
}

func (r *Relay) kill() {
	r.API.Close()
	if !r.Ended() {
		r.proc.Kill()
	}
	r.Log.Die()
}

// ask decodes the data of an answer.
func ask[T any](r *Relay, path string) (data T, err error) {
	body, err := r.API.Get(path)
	if err != nil {
		return data, err
	}
	var reply answer.Reply[T]
	if err := json.Unmarshal(body, &reply); err != nil {
		return data, fmt.Errorf("read the relay's answer to %s: %w", path, err)
	}
	return reply.Data, nil
}

// Backends are the relay's backends.
func (r *Relay) Backends() ([]answer.Backend, error) {
	list, err := ask[answer.BackendList](r, "/api/v1/backends")
	return list.Backends, err
}

// Books are the sums of all shards' counters: datagrams received, and datagrams by fate.
type Books struct {
	Received, Fates  uint64
	Dropped          uint64
	KernelDrops      uint64 // of the relay's sockets
	SendDrops        uint64
	Sessions         uint64 // in any state
	Established      uint64
	Rejected         uint64
	ShutdownsMade    uint64
	LogLinesLost     uint64
	BackendsLost     uint64
	AtHandshakeCap   uint64
	Migrations       uint64
	Challenges       uint64 // of addresses that a session might move to
	NotEmptyBackends []string
}

// Balanced reports whether every datagram that was received met one fate.
func (b Books) Balanced() bool { return b.Received == b.Fates }

// Books reads them.
func (r *Relay) Books() (b Books, err error) {
	list, err := ask[answer.ShardList](r, "/api/v1/shards")
	if err != nil {
		return b, err
	}
	for _, s := range list.Shards {
		c := s.Counters
		b.Received += c["received_front"] + c["received_back"]
		for _, n := range s.Drops {
			b.Dropped += n
		}
		for _, n := range s.SendDrops {
			b.SendDrops += n
		}
		b.Fates += c["forwarded_to_backend"] + c["forwarded_to_caller"] + c["answered"] + c["parked"] + c["consumed"] + c["passed_on"]
		b.KernelDrops += s.KernelDrops
		b.Sessions += c["sessions"]
		b.Established += c["established"]
		b.Rejected += c["rejected"]
		b.ShutdownsMade += c["shutdowns_made"]
		b.BackendsLost += c["backends_lost"]
		b.Migrations += c["migrations"]
		b.Challenges += c["migration_challenges"]
		b.AtHandshakeCap += c["at_handshake_cap"] + c["at_source_cap"]
	}
	b.Fates += b.Dropped
	backends, err := r.Backends()
	if err != nil {
		return b, err
	}
	for _, s := range backends {
		if s.Sessions > 0 {
			b.NotEmptyBackends = append(b.NotEmptyBackends, fmt.Sprintf("%s has %d", s.ID, s.Sessions))
		}
	}
	return b, nil
}

// AwaitEmpty waits until the relay has no session in any state and its counters do not
// change, and returns them.
func (r *Relay) AwaitEmpty(ctx context.Context, patience time.Duration) (b Books, err error) {
	err = r.await(ctx, patience, "become empty", func() bool {
		b, err = r.Books()
		return err == nil && b.Sessions == 0 && len(b.NotEmptyBackends) == 0 && b.Balanced()
	})
	if err != nil {
		return b, fmt.Errorf("%w: %d sessions, received %d, fates %d, leases: %s", err, b.Sessions, b.Received, b.Fates, strings.Join(b.NotEmptyBackends, ", "))
	}
	return b, nil
}
