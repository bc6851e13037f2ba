//go:build linux

// Package hostile puts faults and attacks to a relay while hundreds of sessions
// carry numbered datagrams through it, and says what they lost: nothing, where
// the relay was not the one that was stopped.
//
// Everything happens in network namespaces of its own.
package hostile
