//go:build linux

// Package soak keeps a relay busy for an hour, with streams that stay, sessions that come
// and go, backends that die and return, and operators' requests. It reports whether
// anything was lost, and whether memory, descriptors or threads grew.
//
// Everything happens in the package's own network namespaces.
package soak
