package srttest

import (
	"errors"
	"fmt"

	"srtrelay/wire"
)

// Rejection codes as the fakes themselves use them, in wire form.
const (
	badRequest wire.HandshakeType = 1000 // libsrt's answer to a SID of impossible size
	rogue      wire.HandshakeType = 1004
	closing    wire.HandshakeType = 1007
	badVersion wire.HandshakeType = 1008
)

// Rejection is the error of a Dial that was rejected.
type Rejection struct {
	Code uint32 // as on the wire: 1000 plus the API's code
}

func (r *Rejection) Error() string { return fmt.Sprintf("rejected with wire code %d", r.Code) }

// ProtocolError is the error of a Dial that was answered with what a libsrt
// caller does not accept.
type ProtocolError struct{ Reason string }

func (p *ProtocolError) Error() string { return "protocol violated: " + p.Reason }

func violation(format string, args ...any) *ProtocolError {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

var (
	// ErrTimeout is the cause when nobody concluded the handshake in time.
	ErrTimeout = errors.New("no answer within the connect timeout")
	// ErrShutdown is a session's error after the peer's SHUTDOWN.
	ErrShutdown = errors.New("shut down by the peer")
	// ErrRepeatedResponse is what kills a gosrt caller: a second CONCLUSION
	// response makes it build a phantom connection that closes the real one.
	ErrRepeatedResponse = errors.New("second CONCLUSION response at a gosrt caller")
	// ErrClosed is a session's error after its own Close.
	ErrClosed = errors.New("session closed")
)
