package shard

import (
	"syscall"
	"testing"

	"srtrelay/handshake"
	"srtrelay/wire"
)

// An upstream socket that cannot be opened for want of descriptors costs that
// caller a 2402 and nothing else, and is tried again a second later.
func TestUpstreamSocketWithoutDescriptors(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	for k, attempts := range []uint64{1, 0} { // the second caller comes too soon
		// The same socket ID at another address needs another upstream socket.
		other := r.dialFront()
		cookie := r.cookie(other, callerID)
		failed := r.count(CountUpstreamsFailed)
		none := syscall.Rlimit{Cur: 0, Max: before.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
			t.Fatal(err)
		}
		r.send(other, conclusion(callerID, callerISN, cookie, 500))
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
		r.expect(other, wire.HandshakeType(handshake.CodeOverload))
		if n := r.count(CountUpstreamsFailed) - failed; n != attempts {
			t.Errorf("caller %d: %d attempts to open a socket, want %d", k, n, attempts)
		}
	}
	r.pass(upstreamRetry)
	r.establish(r.dialFront(), callerID, callerISN, backendID+1)
	if len(r.backs) != 2 {
		t.Errorf("%d upstream sockets, want 2", len(r.backs))
	}
}
