package takeover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// process is the process at the other end, as its giver holds it: it can see that the
// process is dead, and can kill it.
type process struct {
	pid   int // 0 if it is in another PID namespace
	pidfd int
	// killSwitch kills the process when something is written to it, whatever the PID
	// namespace and the user; see armKillSwitch. -1 before HELLO.
	killSwitch int
}

// peerOf identifies the process that has connected. It must run as the same user or as
// root.
func peerOf(c *net.UnixConn) (p process, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return p, err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { p, inner = identify(int(fd)) }); err != nil {
		return p, err
	}
	return p, inner
}

func identify(fd int) (process, error) {
	p := process{pidfd: -1, killSwitch: -1}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return p, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	if p.pid = int(cred.Pid); cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return p, fmt.Errorf("it runs as user %d, and only %d and root may take over", cred.Uid, os.Geteuid())
	}
	// SO_PEERPIDFD (Linux 6.5) cannot mean another process that got the PID in the
	// meantime, and works across PID namespaces.
	p.pidfd, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	switch {
	case err == nil:
		return p, nil
	case !errors.Is(err, unix.ENOPROTOOPT) && !errors.Is(err, unix.EINVAL):
		p.pidfd = -1
		return p, os.NewSyscallError("getsockopt SO_PEERPIDFD", err)
	case p.pid == 0:
		p.pidfd = -1
		return p, errors.New("it is in another PID namespace, and this kernel cannot watch it there (Linux 6.5 can)")
	}
	// The process waits for an answer, so the PID is still its own unless somebody has
	// killed it within the last milliseconds.
	if p.pidfd, err = unix.PidfdOpen(p.pid, 0); err != nil {
		p.pidfd = -1
		return p, os.NewSyscallError("pidfd_open", err)
	}
	return p, nil
}

// String names the process in errors.
func (p *process) String() string {
	if p.pid == 0 {
		return "the new process (in another PID namespace)"
	}
	return fmt.Sprintf("the new process (PID %d)", p.pid)
}

func (p *process) close() {
	for _, fd := range []*int{&p.pidfd, &p.killSwitch} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

// kill kills the process and returns when it is dead, or when ctx ends. A pidfd reaches
// only processes that this one may signal, in its own PID namespace or below.
func (p *process) kill(ctx context.Context) error {
	for p.alive() {
		var refused error
		err := unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			if _, err := unix.Write(p.killSwitch, []byte{1}); err != nil && !errors.Is(err, unix.EAGAIN) {
				refused = fmt.Errorf("killing %s: %w", p, err)
			}
		}
		// A process that ends closes its files, and with them the switch, before it is dead.
		if p.waitDead(ctx, time.Second) == nil {
			return nil
		}
		if refused != nil {
			return refused
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// waitDead waits until the process is dead.
func (p *process) waitDead(ctx context.Context, atMost time.Duration) error {
	const slice = 20 * time.Millisecond // how late it sees that ctx has ended
	for end := time.Now().Add(atMost); p.alive(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Now().After(end) {
			return errNoAnswer
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}, int(slice.Milliseconds()))
	}
	return nil
}

// alive is false once the process is dead: all of its threads have ended.
func (p *process) alive() bool {
	fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return n == 0 || err != nil
		}
	}
}

// killSwitch has the kernel kill this process when the other one writes to trigger: a
// signal-driven socket (O_ASYNC) whose signal is SIGKILL. Only a datagram does it. The
// end of the other process, which closes trigger, does not.
//
// The kernel does not let PID 1 of a PID namespace die of a signal that it has no handler
// for. Such a process gets SIGABRT, by which Go's runtime prints all stacks and ends the
// process, from its handler and so whatever hangs; but it does not if the process is
// stopped.
type killSwitch struct{ armed, trigger int }

func armKillSwitch() (k killSwitch, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return k, os.NewSyscallError("socketpair", err)
	}
	k = killSwitch{armed: pair[0], trigger: pair[1]}
	signal := unix.SIGKILL
	if os.Getpid() == 1 {
		signal = unix.SIGABRT
	}
	for _, step := range []struct{ command, value int }{
		{unix.F_SETOWN, os.Getpid()},
		{unix.F_SETSIG, int(signal)},
		{unix.F_SETFL, unix.O_ASYNC | unix.O_NONBLOCK},
	} {
		if _, err := unix.FcntlInt(uintptr(k.armed), step.command, step.value); err != nil {
			k.close()
			return k, fmt.Errorf("kill switch: %w", err)
		}
	}
	return k, nil
}

// closeTrigger closes this process's own copy.
func (k *killSwitch) closeTrigger() {
	if k.trigger >= 0 {
		_ = unix.Close(k.trigger)
		k.trigger = -1
	}
}

// close disarms the switch.
func (k *killSwitch) close() {
	k.closeTrigger()
	if k.armed >= 0 {
		_ = unix.Close(k.armed)
		k.armed = -1
	}
}
