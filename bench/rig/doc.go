//go:build linux

// Package rig runs a relay between callers and servers while faults are injected: it starts
// the real binary in the lab, keeps the accounts of all sessions at both ends, and reads
// the counters of the relay and the kernel.
//
// It knows which losses a fault excuses (those of the sessions of a server that was stopped
// or killed), but not which faults there are (bench/hostile, bench/soak).
package rig
