//go:build linux

// Package drive controls the load generator and the sinks: another program sends commands
// and gets reports as lines of JSON, or an operator sees progress and a summary.
//
// It must not know what is measured.
package drive
