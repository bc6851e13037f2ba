package takeover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// conn carries messages. One goroutine uses it at a time, but any may send.
type conn struct {
	unix *net.UnixConn
	mu   sync.Mutex // of send
	in   []byte
	oob  []byte
}

func newConn(c *net.UnixConn) *conn {
	return &conn{unix: c, in: make([]byte, maxMessage+1), oob: make([]byte, unix.CmsgSpace(4*maxFiles))}
}

func (c *conn) close() { _ = c.unix.Close() }

// interrupt makes the call that is waiting, and all further ones, fail.
func (c *conn) interrupt() { _ = c.unix.SetDeadline(time.Unix(1, 0)) }

// send sends a message with descriptors, which stay the caller's.
func (c *conn) send(ctx context.Context, m *message, fds ...int) error {
	b, err := encode(m)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	done := c.limit(ctx)
	_, _, err = c.unix.WriteMsgUnix(b, rights, nil)
	done()
	if err = c.why(ctx, err); errors.Is(err, errEnded) {
		// The other process may have said why.
		if _, _, said := c.receive(ctx, kindRefused); isRefusal(said) {
			return said
		}
	}
	return err
}

// receive waits for a message of one of some kinds until ctx ends. The caller owns its
// descriptors. A REFUSED is an error.
func (c *conn) receive(ctx context.Context, wanted kind, or ...kind) (*message, []int, error) {
	defer c.limit(ctx)()
	n, oobn, flags, _, err := c.unix.ReadMsgUnix(c.in, c.oob)
	if errors.Is(err, unix.ECONNRESET) {
		// The other process closed before it had read everything. What it sent before
		// comes after that error.
		n, oobn, flags, _, err = c.unix.ReadMsgUnix(c.in, c.oob)
	}
	// Both numbers are -1 after an error.
	fds, oobErr := descriptors(c.oob[:max(oobn, 0)])
	m, err := c.parse(c.in[:max(n, 0)], flags, errors.Join(c.why(ctx, err), oobErr))
	switch {
	case err != nil:
	case m.Kind == kindRefused:
		err = &refusal{m.Reason}
	case m.Kind != wanted && !among(or, m.Kind):
		err = fmt.Errorf("%s came in place of %s", m.Kind, wanted)
	case len(fds) != m.descriptors():
		err = fmt.Errorf("%d descriptors came with %s in place of %d", len(fds), m.Kind, m.descriptors())
	}
	if err != nil {
		closeAll(fds)
		return nil, nil, err
	}
	return m, fds, nil
}

func among(kinds []kind, k kind) bool {
	for _, each := range kinds {
		if each == k {
			return true
		}
	}
	return false
}

// parse decodes what a receive call returned.
func (c *conn) parse(b []byte, flags int, err error) (*message, error) {
	switch {
	case err != nil:
		return nil, err
	case flags&unix.MSG_CTRUNC != 0:
		return nil, errors.New("descriptors were lost: too many, or the limit of open files (ulimit -n) is reached")
	case flags&unix.MSG_TRUNC != 0 || len(b) > maxMessage:
		return nil, errors.New("the message is too long")
	}
	return decode(b)
}

// refusal is the reason that the other process gave.
type refusal struct{ reason string }

// Error implements error.
func (r *refusal) Error() string { return "it refuses: " + r.reason }

func isRefusal(err error) bool {
	_, is := errors.AsType[*refusal](err)
	return is
}

// limit has the next call end with ctx. The caller calls what it returns after the call.
func (c *conn) limit(ctx context.Context) (done func()) {
	deadline, _ := ctx.Deadline() // zero for none
	_ = c.unix.SetDeadline(deadline)
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.interrupt()
		close(interrupted)
	})
	return func() {
		if !stop() {
			<-interrupted // and not during the next call
		}
	}
}

// why replaces the errors of package net by ones that say what happened.
func (c *conn) why(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(ctx), context.Canceled):
		return errors.New("this process was stopped")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errNoAnswer
	case errors.Is(err, io.EOF), errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return errEnded
	case errors.Is(err, unix.ETOOMANYREFS):
		return errors.New("too many descriptors are on their way: raise the limit of open files (ulimit -n)")
	}
	return err
}

var (
	errNoAnswer = errors.New("no answer in time")
	errEnded    = errors.New("it has ended the connection")
)

// descriptors returns the descriptors of control messages.
func descriptors(oob []byte) (fds []int, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		if messages[i].Header.Type != unix.SCM_RIGHTS || messages[i].Header.Level != unix.SOL_SOCKET {
			continue
		}
		some, err := unix.ParseUnixRights(&messages[i])
		fds = append(fds, some...)
		if err != nil {
			return fds, err
		}
	}
	return fds, nil
}

// closeAll closes descriptors.
func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// CloseFiles closes the descriptors of files.
func CloseFiles(files []File) {
	for _, f := range files {
		_ = unix.Close(f.FD)
	}
}

// sendFiles sends files in as many messages as they need, at least one.
func (c *conn) sendFiles(ctx context.Context, files []File) error {
	for {
		some := files[:min(len(files), maxFiles)]
		files = files[len(some):]
		fds := make([]int, len(some))
		for i, f := range some {
			fds[i] = f.FD
		}
		if err := c.send(ctx, &message{Kind: kindFiles, Files: some, More: len(files) > 0}, fds...); err != nil {
			return err
		}
		if len(files) == 0 {
			return nil
		}
	}
}

// receiveFiles is the other end of sendFiles.
func (c *conn) receiveFiles(ctx context.Context) (files []File, err error) {
	for {
		m, fds, err := c.receive(ctx, kindFiles)
		if err != nil {
			CloseFiles(files)
			return nil, err
		}
		for i, f := range m.Files {
			f.FD = fds[i]
			files = append(files, f)
		}
		if !m.More {
			return files, nil
		}
		if len(files) > maxAllFiles {
			CloseFiles(files)
			return nil, fmt.Errorf("more than %d descriptors", maxAllFiles)
		}
	}
}

// monotonic is CLOCK_MONOTONIC.
func monotonic() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail with a pointer to it
	return time.Duration(now.Nano())
}
