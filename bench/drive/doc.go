//go:build linux

// Package drive is how somebody tells the load generator and the sinks what to
// do and hears what came of it: another program by lines of text and JSON, or
// an operator who sees progress and a summary.
//
// It must not know what is measured.
package drive
