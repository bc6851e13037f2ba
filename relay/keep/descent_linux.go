package keep

import (
	"bytes"
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// mostAncestors bounds the search for an ancestor. Processes may end meanwhile.
const mostAncestors = 64

// isOurs reports whether a process descends from this one. In a container this process has
// number 1, and all that it can see are of the container, also one whose parent is outside.
func (k *keeper) isOurs(pid int) bool {
	if k.self == 1 {
		return pid > 1 && parentOf(pid) >= 0
	}
	for range mostAncestors {
		if pid <= 1 {
			return false
		}
		if pid = parentOf(pid); pid == k.self {
			return true
		}
	}
	return false
}

// parentOf returns the parent of a process, -1 if there is no such process.
func parentOf(pid int) int {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return -1
	}
	// The name before, in brackets, may have anything in it.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return -1
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return -1
	}
	return parent
}

// childrenOf returns the children of a process.
func childrenOf(pid int) (all []int) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if child, err := strconv.Atoi(name); err == nil && parentOf(child) == pid {
			all = append(all, child)
		}
	}
	return all
}

// watch says when a process has ended that another process than this one may have to wait
// for: that which it has taken over from goes on where --takeover is auto.
func (k *keeper) watch(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	go func() {
		defer unix.Close(fd)
		err := error(unix.EINTR)
		for errors.Is(err, unix.EINTR) {
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		}
		k.gone <- pid
	}()
	return nil
}
