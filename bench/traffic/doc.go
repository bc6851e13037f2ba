//go:build linux

// Package traffic drives the load generator and the sinks, which run as
// processes of their own in the lab's two namespaces: it starts them, gives
// them their commands and reads what they report.
//
// It must not know which peer stands between them.
package traffic
