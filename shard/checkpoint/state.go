package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
)

// MostState is the size of the longest state: that of a balancer with a million leases.
const MostState = 64 << 20

// stateSize is the space of one copy of the state, with its header.
const stateSize = stateHeader + MostState

// Offsets in the header of a copy.
const (
	atStateLength = 0
	atStateCount  = 8
	atStateSum    = 16

	stateHeader = 4096
)

// ErrNoState says that a file has no whole state.
var ErrNoState = errors.New("no whole state")

// StateWriter writes the state of what all shards share, each time in place of the older one
// of two copies, so that a process that is killed meanwhile leaves the other one.
type StateWriter struct {
	file  io.WriterAt
	base  int64
	nonce uint64
	count uint64
}

// StateWriter returns the writer of a file.
func (h *Header) StateWriter(file io.WriterAt) *StateWriter {
	return &StateWriter{file: file, base: h.Size(), nonce: h.Nonce}
}

// Write writes the state.
func (w *StateWriter) Write(state []byte) error {
	if len(state) > MostState {
		return fmt.Errorf("a state of %d bytes, at most %d", len(state), MostState)
	}
	w.count++
	at := w.base + int64(w.count%2)*stateSize
	if _, err := w.file.WriteAt(state, at+stateHeader); err != nil {
		return err
	}
	var head [24]byte
	binary.LittleEndian.PutUint64(head[atStateLength:], uint64(len(state)))
	binary.LittleEndian.PutUint64(head[atStateCount:], w.count)
	binary.LittleEndian.PutUint64(head[atStateSum:], stateSum(w.nonce, w.count, state))
	_, err := w.file.WriteAt(head[:], at)
	return err
}

func stateSum(nonce, count uint64, state []byte) uint64 {
	return crc64.Update(nonce^count*0x9E3779B97F4A7C15^uint64(len(state)), polynomial, state)
}

// State returns the latest whole state of a file.
func (h *Header) State(file io.ReaderAt) (state []byte, err error) {
	latest := uint64(0)
	for k := range int64(2) {
		at := h.Size() + k*stateSize
		var head [24]byte
		if _, err := file.ReadAt(head[:], at); err != nil {
			continue // it was never written
		}
		n, count := binary.LittleEndian.Uint64(head[atStateLength:]), binary.LittleEndian.Uint64(head[atStateCount:])
		if count <= latest || n > MostState {
			continue
		}
		b := make([]byte, n)
		if _, err := file.ReadAt(b, at+stateHeader); err != nil {
			continue
		}
		if binary.LittleEndian.Uint64(head[atStateSum:]) == stateSum(h.Nonce, count, b) {
			state, latest = b, count
		}
	}
	if latest == 0 {
		return nil, ErrNoState
	}
	return state, nil
}
