//go:build !linux

package srttest

// forceBuffers does nothing off Linux.
func forceBuffers(int, int) bool { return false }
