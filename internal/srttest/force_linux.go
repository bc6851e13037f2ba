package srttest

import "syscall"

// forceBuffers sets the size of both buffers past net.core.{r,w}mem_max, and
// reports whether the process may do that.
func forceBuffers(fd, size int) bool {
	recv := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, size)
	send := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUFFORCE, size)
	return recv == nil && send == nil
}
