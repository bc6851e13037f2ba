//go:build linux

package socket

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readyAtOnce is how many readable sockets one call names.
const readyAtOnce = 256

// Ready reports which of many sockets are readable. Only one loop uses it.
type Ready struct {
	fd     int
	events [readyAtOnce]unix.EpollEvent
	wait   unix.Timespec
}

// NewReady returns a Ready without sockets.
func NewReady() (*Ready, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch sockets: %w", os.NewSyscallError("epoll_create1", err))
	}
	return &Ready{fd: fd}, nil
}

// Add watches a socket under a number.
func (r *Ready) Add(fd, number int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(number)}
	if err := unix.EpollCtl(r.fd, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("watch socket: %w", os.NewSyscallError("epoll_ctl", err))
	}
	return nil
}

// Remove ends the watch of a socket.
func (r *Ready) Remove(fd int) error {
	if err := unix.EpollCtl(r.fd, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
		return fmt.Errorf("leave socket: %w", os.NewSyscallError("epoll_ctl", err))
	}
	return nil
}

// Wait returns how many sockets are readable. It waits at most ns for the first.
func (r *Ready) Wait(ns int64) int {
	r.wait = unix.NsecToTimespec(max(ns, 0))
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(r.fd), uintptr(unsafe.Pointer(&r.events[0])),
		readyAtOnce, uintptr(unsafe.Pointer(&r.wait)), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// Full reports whether more may be readable than a Wait of n has named.
func Full(n int) bool { return n == readyAtOnce }

// Number is the number of the i-th readable socket.
func (r *Ready) Number(i int) int { return int(r.events[i].Fd) }

// Close closes it. The sockets stay open.
func (r *Ready) Close() error { return unix.Close(r.fd) }
