package kernelpath

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf/link"
)

// files returns the descriptors of the links.
func (h *hooks) files() (files []File) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, one := range h.attached {
		if l, ok := one.link.(interface{ FD() int }); ok {
			files = append(files, File{fileLink + " " + one.name, l.FD()})
		}
	}
	return files
}

// present returns duplicates of the descriptors of the links.
func (h *hooks) present() (files []File, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, one := range h.attached {
		if l, ok := one.link.(interface{ FD() int }); ok {
			fd, failed := duplicate(l.FD())
			if failed != nil {
				err = failed
				continue
			}
			files = append(files, File{fileLink + " " + one.name, fd})
		}
	}
	return files, err
}

// changed returns how many times the links have changed.
func (h *hooks) changed() uint64 { return h.changes.Load() }

// adopt takes over the links of another process. That to lo must be there.
func (h *hooks) adopt(files []File) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range files {
		kind, name, _ := strings.Cut(f.Name, " ")
		if kind != fileLink {
			continue
		}
		l, err := adoptLink(f)
		if err != nil {
			return err
		}
		index, attached := deviceOf(l)
		if _, twice := h.attached[index]; !attached || twice {
			_ = l.Close()
			continue
		}
		h.attached[index] = hook{link: l, name: name}
	}
	if h.attached[loopback].link == nil {
		return fmt.Errorf("%w: its program is not attached to lo", ErrMismatch)
	}
	return nil
}

// adoptLink opens the link of a descriptor, which stays the caller's.
func adoptLink(f File) (link.Link, error) {
	fd, err := duplicate(f.FD)
	if err != nil {
		return nil, err
	}
	l, err := link.NewFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("take over %s: %w", f.Name, err)
	}
	return l, nil
}

// deviceOf returns the index of a link's device. attached is false if it has none any more:
// an operator may have detached it, and a device that is removed takes it along.
func deviceOf(l link.Link) (index int, attached bool) {
	info, err := l.Info()
	if err != nil {
		return 0, false
	}
	tcx := info.TCX()
	if tcx == nil {
		return 0, false
	}
	return int(tcx.Ifindex), tcx.Ifindex != 0
}

// replace puts this process's program into all links, each at one stroke. A link where that
// fails is given up, so that the next refresh attaches the program anew; so is one whose
// device is gone.
func (h *hooks) replace() (problems []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, index := range slices.Sorted(maps.Keys(h.attached)) {
		one := h.attached[index]
		if one.link == nil {
			continue
		}
		attached := isAttached(one.link)
		if attached {
			err := one.link.Update(h.program)
			if err == nil {
				continue
			}
			problems = append(problems, fmt.Sprintf("program at %s not replaced: %v", one.name, err))
		}
		one.detach()
		delete(h.attached, index)
		h.changes.Add(1)
	}
	return problems
}

// evicted reports whether another process has detached the program: nothing else takes it
// from lo.
func (h *hooks) evicted() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	lo := h.attached[loopback].link
	return lo != nil && !isAttached(lo)
}

// detach detaches the program from all devices, also if another process has the links too.
// From lo last: what the others have sent there needs it.
func (h *hooks) detach() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, index := range slices.Backward(slices.Sorted(maps.Keys(h.attached))) {
		h.attached[index].detach()
	}
	clear(h.attached)
}

// detach detaches the program from the device.
func (o hook) detach() {
	if o.link != nil {
		_ = o.link.Detach() // it may be detached already
		_ = o.link.Close()
	}
}

// Evict detaches the program of another process, whose descriptors are given (Files), from
// all devices: all datagrams of its sessions go up from then on. It is for a process that
// takes over sockets and sessions, but not the path, and leaves the maps alone.
func Evict(files []File) error {
	var errs []error
	h := hooks{attached: make(map[int]hook)}
	for _, f := range files {
		if !strings.HasPrefix(f.Name, fileLink+" ") {
			continue
		}
		l, err := adoptLink(f)
		errs = append(errs, err)
		if err != nil {
			continue
		}
		if index, attached := deviceOf(l); attached {
			h.attached[index] = hook{link: l}
		} else {
			_ = l.Close()
		}
	}
	h.detach()
	return errors.Join(errs...)
}
