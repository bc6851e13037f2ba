//go:build linux

// Package socket is how the load generator and the sinks send, receive and
// wait: system calls on threads of their own, without the Go runtime's poller,
// so that a datagram costs its system call and little else.
//
// It must not know what the datagrams say.
package socket
