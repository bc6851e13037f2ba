//go:build linux

// Package suite runs the bench: its scenarios, in which order and how often which peer runs,
// and the verdicts on the figures.
//
// It must not know how a peer is configured or how a report looks.
package suite
