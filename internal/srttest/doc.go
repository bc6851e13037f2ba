// Package srttest is the other side of a relay, for tests and bench only: a
// fake SRT caller (CallerPort, Session), a fake SRT listener that plays the
// backend (Listener, Connection), and a lossy UDP path between two hops (Link).
//
// The fakes speak real SRT on the wire as far as a relay can see it: both
// handshakes, extensions, rejections, sequence numbers, keepalives, shutdown.
// They do not retransmit lost data, do not encrypt and have no TSBPD; instead
// they count what arrived, and they misbehave on request.
//
// It imports package wire and nothing else of this module: a fake that
// shared code with what it tests would share its mistakes.
package srttest
