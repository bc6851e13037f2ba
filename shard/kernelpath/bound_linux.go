package kernelpath

import (
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// checkUnbound returns an error if something binds this process's sockets to a device, as
// `ip vrf exec` does by a program of its cgroup. What they send takes other routes then than those
// that the kernel is asked for here, and a VRF may have addresses that others have too.
func checkUnbound() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	index, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	if err != nil || index == 0 { // before Linux 5.0 there is no kernel path either
		return nil
	}
	name := strconv.Itoa(index)
	if device, err := net.InterfaceByIndex(index); err == nil {
		name = device.Name
	}
	return fmt.Errorf("%w: the sockets of the process are bound to device %s, as by ip vrf exec", ErrUnavailable, name)
}
