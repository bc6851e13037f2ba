//go:build linux

package lab

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
)

func needLab(t *testing.T) {
	t.Helper()
	need.Root(t, "a network namespace")
	need.Tool(t, "ip")
}

func open(t *testing.T) *Lab {
	t.Helper()
	needLab(t)
	l, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A datagram must pass from one namespace to the other, and nothing may be
// left behind.
func TestLabIsBuiltAndRemoved(t *testing.T) {
	l := open(t)
	var at *net.UDPConn
	err := l.Origin.Do(func() (err error) {
		at, err = net.ListenUDP("udp4", &net.UDPAddr{IP: OriginAddr.AsSlice()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	err = l.Callers.Do(func() error {
		c, err := net.Dial("udp4", at.LocalAddr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 16)
	_ = at.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, from, err := at.ReadFromUDPAddrPort(b)
	if err != nil || string(b[:n]) != "hello" || from.Addr() != CallersAddr {
		t.Errorf("%q from %v, %v", b[:n], from, err)
	}
	if got := l.Callers.Sysctl("net.ipv4.ip_local_port_range"); got != "1024 65535" {
		t.Errorf("port range %q", got)
	}
	p, err := l.Origin.Start(Program{Label: "sleeper", Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{l.Callers.Name, l.Origin.Name}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done:
	default:
		t.Error("a process outlived the lab")
	}
	for _, name := range names {
		if _, err := os.Stat("/run/netns/" + name); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}

// The bug: a namespace's thread ended with it, and the kernel sent the death signal to
// processes that the thread had forked before it was the namespace's.
func TestLabEndsNoProcessOfOthers(t *testing.T) {
	needLab(t)
	var others []*exec.Cmd
	defer func() {
		for _, c := range others {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}()
	for range 4 {
		for range 8 {
			c := clocale.Command("sleep", "1000")
			c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			others = append(others, c)
		}
		if err := open(t).Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range others {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Process.Pid))
		if err != nil || strings.Contains(string(state), ") Z ") {
			t.Fatalf("process %d has been killed (%s, %v)", c.Process.Pid, state, err)
		}
	}
}

func TestProcessRunsWhereItShould(t *testing.T) {
	l := open(t)
	defer l.Close()
	p, err := l.Callers.Start(Program{
		Label: "shell", Stdin: true, CPUs: []int{0}, Env: []string{"WORD=told"},
		Args: []string{"sh", "-c", `read x; echo "$x $WORD $(grep Cpus_allowed_list /proc/self/status | cut -f2)"; ip -br addr show veth0; echo complaint >&2; exit 3`},
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(p.Stdin, "asked")
	in := bufio.NewReader(p.Stdout)
	first, _ := in.ReadString('\n')
	second, _ := in.ReadString('\n')
	if first != "asked told 0\n" || !strings.Contains(second, CallersAddr.String()) {
		t.Errorf("said %q, %q", first, second)
	}
	<-p.Done
	if text := p.Failure().Error(); !strings.Contains(text, "complaint") || !strings.Contains(text, "exit status 3") {
		t.Errorf("failure: %s", text)
	}
	p.Kill() // also of one that is gone
}

// What a killed bench leaves behind must go, what a living one uses must stay.
func TestSweep(t *testing.T) {
	l := open(t)
	defer l.Close()
	dead := clocale.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	// The second has a living PID that another process had before.
	left := []string{
		fmt.Sprintf("%s%d-1-origin", namespacePrefix, dead.Process.Pid),
		fmt.Sprintf("%s%d-1-callers", namespacePrefix, os.Getpid()),
	}
	for _, name := range left {
		if err := ip("netns", "add", name); err != nil {
			t.Fatal(err)
		}
	}
	stray := clocale.Command("ip", "netns", "exec", left[0], "sleep", "1000")
	if err := stray.Start(); err != nil {
		t.Fatal(err)
	}
	for { // until it is in the namespace
		out, err := clocale.Command("ip", "netns", "pids", left[0]).Output()
		if err != nil {
			t.Fatal(err)
		}
		if len(out) > 0 {
			break
		}
	}
	swept, err := Sweep()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range left {
		if !slices.Contains(swept, name) {
			t.Errorf("%s was not swept: %v", name, swept)
		}
	}
	if err := stray.Wait(); err == nil {
		t.Error("the stray process ended well")
	}
	for _, name := range []string{l.Callers.Name, l.Origin.Name} {
		if slices.Contains(swept, name) {
			t.Errorf("%s is in use and was swept", name)
		}
	}
}

func TestStale(t *testing.T) {
	mark, err := ownMark()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		namespacePrefix + mark + "-origin":                    false,
		namespacePrefix + "999999999-1-origin":                true,
		namespacePrefix + "1":                                 false,
		"other-999999999-1-origin":                            false,
		namespacePrefix + "999999999-1-a-b":                   false,
		fmt.Sprintf("%s%d-1-x", namespacePrefix, os.Getpid()): true,
	} {
		if got := stale(name); got != want {
			t.Errorf("stale(%q) = %v", name, got)
		}
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var tl tail
	for i := range 3000 {
		fmt.Fprintf(&tl, "line %d\n", i)
	}
	if text := tl.String(); len(text) > tailSize || !strings.HasSuffix(text, "line 2999") {
		t.Errorf("%d bytes, ends %q", len(text), text[len(text)-20:])
	}
}

// Two labs of one process do not disturb each other, and what was added to one ends with
// it.
func TestLabsSideBySide(t *testing.T) {
	first, second := open(t), open(t)
	added, err := second.Add("extra")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{second.Callers.Name, second.Origin.Name, added.Name}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range names {
		if _, err := os.Stat("/run/netns/" + name); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	if _, err := os.Stat("/run/netns/" + first.Origin.Name); err != nil {
		t.Errorf("the other lab is gone: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
}
