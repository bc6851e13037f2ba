// Package goproxy is a plain SRT proxy like SRS's own, to measure what a straightforward Go
// program costs per packet.
//
// The shape, kept on purpose: one goroutine reads the listener, one datagram
// per call into a fresh 4 KiB slice; INDUCTION is answered with a constant
// cookie; a CONCLUSION dials a connected UDP socket of its own, and both
// rounds with the backend are done in that same goroutine; one goroutine per
// session reads back; a sync.Map finds sessions by socket ID, and each datagram
// of a caller makes a new one, with a random name, in case it is not there. It is a
// yardstick for the bench and nothing to put streams through: it knows no
// retries, no end of a session and no forged cookie. Unlike its model it
// survives malformed handshakes and silent backends, because a measurement
// that ends in a crash measures nothing.
package goproxy
