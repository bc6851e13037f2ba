//go:build linux

// Package socket has what the load generator and the sinks send, receive and wait with:
// system calls on threads of their own, without the Go runtime's poller, so that a datagram
// costs little more than its system call.
//
// It must not know the content of the datagrams.
package socket
