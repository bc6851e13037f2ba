package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"srtrelay/api/answer"
	"srtrelay/config"
	"srtrelay/shard"
	"srtrelay/shard/kernelpath"
)

// kernelPath is the relay's kernel path, if it has one.
type kernelPath struct {
	path   *kernelpath.Path // nil if it is off
	reason string           // why it is off; "" if the operator has turned it off
}

// openKernelPath opens the kernel path for so many sessions per shard, as the
// configuration wants it, or takes over that of before. One that does not fit is replaced:
// its sessions enter the new one when it has been detached.
func openKernelPath(c config.Config, places int, p process, before *predecessor) (kernelPath, error) {
	if c.KernelPath == config.KernelPathOff {
		return kernelPath{}, nil
	}
	cfg := kernelpath.Config{
		Shards: c.Shards, Places: places, AcceptLocal: c.KernelPathAccept, Shield: c.Shield, Log: p.log, Supervisor: p.supervisor,
	}
	if before != nil && len(before.kernel) > 0 {
		cfg.Adopt = before.kernel
	}
	path, err := kernelpath.Open(cfg)
	if errors.Is(err, kernelpath.ErrMismatch) {
		p.log.Warn("kernel path not taken over, sessions enter a new one", "reason", err)
		cfg.Adopt = nil
		path, err = kernelpath.Open(cfg)
	}
	if err == nil {
		k := kernelPath{path: path}
		var devices []string
		for _, d := range k.KernelPath().Devices {
			devices = append(devices, strings.TrimSuffix(d.Name+": "+d.Problem, ": "))
		}
		p.log.Info("kernel path on", "devices", devices)
		return k, nil
	}
	if c.KernelPath == config.KernelPathRequire {
		return kernelPath{}, fmt.Errorf("--kernel-path require: %w", err)
	}
	// Most hosts lack a right or the kernel. That is no warning, as nobody has asked for the path.
	level := slog.LevelWarn
	if errors.Is(err, kernelpath.ErrUnavailable) {
		level = slog.LevelInfo
	}
	p.log.Log(context.Background(), level, "kernel path off", "reason", err)
	return kernelPath{reason: err.Error()}, nil
}

// follow follows the host's devices and routes until ctx ends.
func (k *kernelPath) follow(ctx context.Context, group *shard.Group) {
	k.path.Follow(ctx, group.Reroute)
}

// close detaches the program. The shards must have ended.
func (k *kernelPath) close() {
	if k.path != nil {
		k.path.Close()
	}
}

// undo closes a path that was never started.
func (k *kernelPath) undo() {
	if k.path != nil && k.path.Adopted() {
		k.path.Release()
		return
	}
	k.close()
}

// release leaves the program to another process. The shards must have ended.
func (k *kernelPath) release() {
	if k.path != nil {
		k.path.Release()
	}
}

// KernelPath implements api.Kernel and metrics.Kernel.
func (k *kernelPath) KernelPath() answer.KernelPath {
	a := answer.KernelPath{On: k.path != nil, Reason: k.reason, Devices: []answer.KernelDevice{}}
	if k.path == nil {
		return a
	}
	devices, err := k.path.Devices()
	if err != nil {
		a.Reason = err.Error()
	}
	for _, d := range devices {
		one := answer.KernelDevice{Name: d.Name, Up: make(map[string]uint64, len(d.Up))}
		if d.Err != nil {
			one.Problem = d.Err.Error()
		}
		for k, reason := range kernelpath.Reasons() {
			one.Up[reason] = d.Up[k]
		}
		a.Devices = append(a.Devices, one)
	}
	return a
}
