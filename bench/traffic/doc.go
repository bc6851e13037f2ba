//go:build linux

// Package traffic controls the load generator and the sinks, which run as processes in the
// lab's two namespaces: it starts them, sends commands and reads their reports.
//
// It must not know which peer is between them.
package traffic
