//go:build !linux

package kernelpath

import (
	"context"

	"srtrelay/addr"
)

// Off Linux this package only compiles, for editors and for tools that read code.

type (
	hooks      struct{}
	routeCache struct{}
	notices    struct{}
	ipsec      struct{}
	hop        struct {
		action pathAction
		flags  uint8
		mtu    uint16
		device uint32
		next   addr.IP
	}
)

func (h *hooks) open(*Path) error                           { return ErrUnavailable }
func (h *hooks) report() ([]Device, map[int]int)            { return nil, nil }
func (h *hooks) close()                                     {}
func (h *hooks) detach()                                    {}
func (h *hooks) files() []File                              { return nil }
func (h *hooks) present() ([]File, error)                   { return nil, nil }
func (h *hooks) changed() uint64                            { return 0 }
func (h *hooks) replace() []string                          { return nil }
func (h *hooks) evicted() bool                              { return false }
func (n *notices) open() error                              { return ErrUnavailable }
func (n *notices) close()                                   {}
func (s *ipsec) open() error                                { return ErrUnavailable }
func (s *ipsec) close()                                     {}
func (c *routeCache) open() error                           { return ErrUnavailable }
func (c *routeCache) close()                                {}
func (s *Shard) resolve(_, _ addr.IP) (hop, addr.IP, error) { return hop{}, addr.IP{}, ErrNoRoute }

func checkUnbound() error { return ErrUnavailable }

func (p *Path) Follow(context.Context, func(context.Context) error) {}

// Evict does nothing: there is no path.
func Evict([]File) error { return nil }
