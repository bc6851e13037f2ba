package keep

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// store has the descriptors that are kept.
type store struct {
	most int
	all  []descriptor // the oldest first
}

// descriptor is one that is kept. The store owns it.
type descriptor struct {
	name string
	fd   int
}

// put keeps a descriptor. It takes the place of the one that has its name: unlike systemd, a
// container as a rule may not ask whether two are the same (kcmp(2)). It returns false if the
// store is full, and then closes it.
func (s *store) put(name string, fd int) bool {
	k := slices.IndexFunc(s.all, func(d descriptor) bool { return d.name == name })
	switch {
	case k >= 0:
		s.all[k].fd, fd = fd, s.all[k].fd
	case len(s.all) < s.most:
		s.all = append(s.all, descriptor{name, fd})
		return true
	}
	_ = syscall.Close(fd)
	return k >= 0
}

// remove closes the descriptor of a name.
func (s *store) remove(name string) {
	s.all = slices.DeleteFunc(s.all, func(d descriptor) bool {
		if d.name != name {
			return false
		}
		_ = syscall.Close(d.fd)
		return true
	})
}

// clear closes all descriptors.
func (s *store) clear() {
	for _, d := range s.all {
		_ = syscall.Close(d.fd)
	}
	s.all = nil
}

// inherited returns the descriptors that a process gets, after its standard streams.
func (s *store) inherited() []uintptr {
	fds := []uintptr{0, 1, 2}
	for _, d := range s.all {
		fds = append(fds, uintptr(d.fd))
	}
	return fds
}

// own are the variables that no child gets from this process's own environment.
var own = []string{
	"NOTIFY_SOCKET", "FDSTORE", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_PPID",
	"WATCHDOG_PID", "WATCHDOG_USEC", "MAINPID",
}

// environment returns the environment of a process that gets the descriptors. LISTEN_PPID
// stands for LISTEN_PID: the number of a process is known when it runs, and no shell is in
// between that could say it.
func (s *store) environment(env []string, socket string, self int) []string {
	traceback := false
	env = slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		traceback = traceback || name == "GOTRACEBACK"
		return slices.Contains(own, name)
	})
	if !traceback {
		// A panic then ends the process as a signal. Go's own exit code would say that it
		// cannot start.
		env = append(env, "GOTRACEBACK=crash")
	}
	env = append(env, "NOTIFY_SOCKET="+socket, "FDSTORE="+strconv.Itoa(s.most), "WATCHDOG_USEC="+strconv.FormatInt(watchdog.Microseconds(), 10))
	if len(s.all) == 0 {
		return env
	}
	var names []string
	for _, d := range s.all {
		names = append(names, d.name)
	}
	return append(env, "LISTEN_FDS="+strconv.Itoa(len(s.all)), "LISTEN_FDNAMES="+strings.Join(names, ":"), "LISTEN_PPID="+strconv.Itoa(self))
}
