// Package tally counts what the load generator and the sinks send and receive,
// and puts it into the report that is their answer.
//
// It must not know how the datagrams travel.
package tally
