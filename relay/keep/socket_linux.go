package keep

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mostFDs is how many descriptors the kernel lets a message have (SCM_MAX_FD).
const mostFDs = 253

// socket receives messages, with the process that has sent each.
type socket struct {
	fd   int
	name string
	dir  string // "" for an abstract name

	readable chan struct{} // has a token when there are messages
	handled  chan struct{} // has one when they have been read
	closing  chan struct{}
	ended    chan struct{}
	text     [mostText]byte
	control  []byte
}

// openSocket opens a socket in a folder of its own, which others cannot reach. Where no folder
// can be written, as a rule in a container, it has an abstract name.
func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("notify socket: %w", err)
	}
	s := &socket{
		fd: fd, readable: make(chan struct{}), handled: make(chan struct{}), closing: make(chan struct{}), ended: make(chan struct{}),
		control: make([]byte, unix.CmsgSpace(4*mostFDs)+unix.CmsgSpace(unix.SizeofUcred)),
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	if err == nil {
		err = s.bind()
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("notify socket: %w", err)
	}
	go s.wait()
	return s, nil
}

func (s *socket) bind() error {
	if dir, err := os.MkdirTemp("", "srtrelay-keep-"); err == nil {
		name := filepath.Join(dir, "notify")
		if err = unix.Bind(s.fd, &unix.SockaddrUnix{Name: name}); err == nil {
			s.name, s.dir = name, dir
			return nil
		}
		_ = os.Remove(dir)
	}
	s.name = "@srtrelay-keep-" + rand.Text()
	return unix.Bind(s.fd, &unix.SockaddrUnix{Name: s.name})
}

// wait says when there are messages, until the socket is closed.
func (s *socket) wait() {
	defer close(s.ended)
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		for _, c := range []chan struct{}{s.readable, s.handled} {
			select {
			case <-s.closing:
				return
			case c <- struct{}{}:
			}
		}
	}
}

// receive returns the next message, its descriptors, which are the caller's, and its sender.
// It returns false if there is none.
func (s *socket) receive() (text []byte, fds []int, sender int, ok bool) {
	var n, controls, flags int // of MSG_CTRUNC the missing descriptors tell
	err := error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		n, controls, flags, _, err = unix.Recvmsg(s.fd, s.text[:], s.control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return nil, nil, 0, false
	}
	parts, _ := unix.ParseSocketControlMessage(s.control[:controls])
	for k := range parts {
		if some, err := unix.ParseUnixRights(&parts[k]); err == nil {
			fds = append(fds, some...)
		}
		if by, err := unix.ParseUnixCredentials(&parts[k]); err == nil {
			sender = int(by.Pid)
		}
	}
	if flags&unix.MSG_TRUNC != 0 {
		n = 0 // a part would say something else
	}
	return s.text[:n], fds, sender, true
}

func (s *socket) close() {
	close(s.closing)
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR) // wakes wait
	<-s.ended
	_ = unix.Close(s.fd)
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}
