// Package tally counts what the load generator and the sinks send and receive, and makes
// their reports.
//
// It must not know how the datagrams travel.
package tally
