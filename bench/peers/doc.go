//go:build linux

// Package peers starts what is measured: the relay, and its alternatives. Each peer is
// started anew for every run, in front of the same backends, with the best settings that
// were found for it.
//
// It must not know how it is measured.
package peers
