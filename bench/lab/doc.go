//go:build linux

// Package lab makes the network of a measurement: two network namespaces joined by a veth
// pair, one with the callers and one with the relay and its backends, and the processes
// that run in them.
//
// Everything in it ends with the process that made it. The next run removes what a killed
// one left. It must not know what the processes do.
package lab
