package notify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// fullTimeout bounds the question whether the store is full.
	fullTimeout = 2 * time.Second
	// closeDelay is how long after it has read a message systemd may take to close a
	// descriptor that it does not keep: another thread of it does that.
	closeDelay = 100 * time.Millisecond
)

// Full reports whether the manager would not keep one more descriptor: systemd closes those
// above FileDescriptorStoreMax= without a word to the service, and before version 254 does not
// say that there is no store. It stores the end of a pipe under a name, and looks at the other
// end.
func (m *Manager) Full(ctx context.Context, name string) (bool, error) {
	if m == nil {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fullTimeout)
	defer cancel()
	r, w, err := os.Pipe()
	if err != nil {
		return false, fmt.Errorf("ask the descriptor store: %w", err)
	}
	defer r.Close()
	err = m.Store(ctx, name, int(w.Fd()))
	_ = w.Close()
	if err == nil {
		err = m.Barrier(ctx)
	}
	if err != nil {
		return false, err
	}
	_ = r.SetReadDeadline(time.Now().Add(closeDelay))
	_, err = r.Read(make([]byte, 1))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return true, nil // the end of the file: nobody has the other end
	}
	return false, m.Remove(ctx, name)
}
