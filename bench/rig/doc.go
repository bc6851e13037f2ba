//go:build linux

// Package rig holds a relay between callers and servers while faults are put to
// it: it starts the real binary in the lab, keeps the accounts of all sessions
// at both ends, and reads what the relay and the kernel say of themselves.
//
// It knows what a fault excuses (the sessions of a server that was stopped or
// killed), but not which faults there are: those are bench/hostile's and
// bench/soak's.
package rig
