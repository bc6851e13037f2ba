//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"srtrelay/internal/clocale"
)

// Namespace is a network namespace and the thread that lives in it. All its
// processes are forked from that thread and inherit the namespace.
type Namespace struct {
	Name string

	jobs chan func()
	gone chan struct{}

	mu    sync.Mutex
	procs map[*Process]bool
}

func addNamespace(name string) (*Namespace, error) {
	if err := ip("netns", "add", name); err != nil {
		return nil, err
	}
	n := &Namespace{Name: name, jobs: make(chan func()), gone: make(chan struct{}), procs: map[*Process]bool{}}
	entered := make(chan error)
	go n.live(entered)
	if err := <-entered; err != nil {
		return nil, errors.Join(err, ip("netns", "del", name))
	}
	return n, nil
}

// live runs the jobs on the thread that is in the namespace. Afterwards the thread goes
// home and back to the runtime's pool: if it ended, the kernel would send the death signal
// (Pdeathsig) to every process that it has ever forked, also to those of others.
func (n *Namespace) live(entered chan<- error) {
	defer close(n.gone)
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err == nil {
		defer home.Close()
		err = enter(n.Name)
	}
	entered <- err
	if err != nil {
		runtime.UnlockOSThread() // it has not left home
		return
	}
	for job := range n.jobs {
		job()
	}
	if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
}

func enter(name string) error {
	f, err := os.Open("/run/netns/" + name)
	if err != nil {
		return fmt.Errorf("enter namespace: %w", err)
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", name, err)
	}
	return nil
}

// Do runs f on the namespace's thread.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error)
	n.jobs <- func() { done <- f() }
	return <-done
}

// SetSysctl sets a kernel parameter of this namespace; name has dots.
func (n *Namespace) SetSysctl(name, value string) error {
	return n.Do(func() error {
		if err := os.WriteFile(sysctlPath(name), []byte(value), 0o644); err != nil {
			return fmt.Errorf("set sysctl %s: %w", name, err)
		}
		return nil
	})
}

// Sysctl reads a kernel parameter as this namespace sees it, "" if it has
// none of that name.
func (n *Namespace) Sysctl(name string) string {
	var text []byte
	_ = n.Do(func() (err error) {
		text, err = os.ReadFile(sysctlPath(name))
		return err
	})
	return strings.Join(strings.Fields(string(text)), " ")
}

// sysctlPath: /proc/sys/net shows the namespace of the thread that opens it.
func sysctlPath(name string) string {
	return filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
}

func (n *Namespace) close() error {
	n.mu.Lock()
	var procs []*Process
	for p := range n.procs {
		procs = append(procs, p)
	}
	n.mu.Unlock()
	for _, p := range procs {
		p.Kill()
	}
	close(n.jobs)
	<-n.gone
	return removeNamespace(n.Name)
}

// removeNamespace ends what still runs there, such as a server's workers that
// outlived it, and removes the namespace.
func removeNamespace(name string) error {
	out, err := clocale.Command("ip", "netns", "pids", name).Output()
	if err != nil {
		return fmt.Errorf("list processes of %s: %w", name, err)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if pid, err := strconv.Atoi(word); err == nil && pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	return ip("netns", "del", name)
}
