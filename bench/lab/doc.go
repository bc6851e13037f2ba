//go:build linux

// Package lab is the place where the bench measures: two network namespaces
// joined by a veth pair, one with the callers and one with the relay and its
// backends, and the processes that run in them.
//
// Everything in it dies with the process that made it. What a killed run left
// behind is swept by the next one. It must not know what the processes do.
package lab
