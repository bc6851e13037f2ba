//go:build linux

// Package suite is the bench's programme: the scenarios, in which order and
// how often which peer runs, and what is concluded from the figures.
//
// It must not know how a peer is configured or how a report looks.
package suite
