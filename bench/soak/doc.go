//go:build linux

// Package soak keeps a relay busy for an hour: streams that stay, sessions that
// come and go, backends that die and return, operators who ask; and says
// whether anything was lost, and whether anything grew.
//
// Everything happens in network namespaces of its own.
package soak
