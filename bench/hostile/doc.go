//go:build linux

// Package hostile injects faults and attacks while hundreds of sessions carry numbered
// datagrams through a relay, and reports what the sessions lost. They must lose nothing
// unless the relay itself was stopped.
//
// Everything happens in the package's own network namespaces.
package hostile
