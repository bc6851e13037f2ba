//go:build linux

// Package e2e tests the relay from outside: the real binary, real sockets,
// fake and real SRT peers. It holds tests only.
package e2e
