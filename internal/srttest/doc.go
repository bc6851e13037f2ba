// Package srttest has the peers of a relay, for tests and bench only: a
// fake SRT caller (CallerPort, Session), a fake SRT listener that plays the
// backend (Listener, Connection), and a lossy UDP path between two hops (Link).
//
// The fakes speak real SRT on the wire as far as a relay can see it: both
// handshakes, extensions, rejections, sequence numbers, keepalives, shutdown.
// They do not retransmit lost data, do not encrypt and have no TSBPD. They count what
// arrived, and misbehave on request.
//
// Of this module it imports package wire only: a fake that shared more code with the relay
// would share its mistakes.
package srttest
