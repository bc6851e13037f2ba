//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/clocale"
	"srtrelay/internal/fences"
	"srtrelay/internal/need"
)

// inNamespace names the relay under test to the process that runs the commands of the pages.
const inNamespace = "SRTRELAY_TEST_DOCS"

// Every command in README.md and docs/ runs as it stands there, except those that are
// marked with a reason: in a network namespace, with its ports, addresses and names, beside
// the servers and streams that the page is about.
func TestDocsRun(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		t.Parallel()
		need.Root(t, "a network namespace for the ports and addresses of the pages")
		need.Tools(t, "unshare", "ip", "curl", "ffmpeg", "tshark")
		cmd := clocale.Command("unshare", "--net", "--mount", os.Args[0], "-test.run=^TestDocsRun$", "-test.v", "-test.timeout=3m")
		cmd.Env = append(cmd.Env, inNamespace+"="+binary)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	must(t, os.Unsetenv("SRTRELAY_KERNEL_PATH")) // the pages' relays have the defaults, as operators' have
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	must(t, os.Symlink(binary, filepath.Join(dir, "bin", "srtrelay")))
	prepare(t, dir)
	for _, file := range pages(t) {
		text, err := os.ReadFile(file)
		must(t, err)
		found, err := fences.Read(file, string(text))
		if err != nil {
			t.Error(err)
			continue
		}
		t.Run(strings.TrimPrefix(file, "../"), func(t *testing.T) {
			p := &docPage{T: t, dir: dir}
			for _, f := range found {
				if f.Skip != "" || !f.HasCommands() {
					continue
				}
				if !p.begun {
					p.begun = true
					p.setUp(filepath.Base(file))
				}
				p.run(f)
			}
			p.stop()
		})
	}
}

// prepare makes the addresses, names and files that commands use.
func prepare(t *testing.T, dir string) {
	t.Helper()
	hosts := filepath.Join(dir, "hosts")
	must(t, os.WriteFile(hosts, []byte("127.0.0.1 localhost relay\n"), 0o644))
	for _, line := range []string{
		"ip link set lo up", "ip address add 10.0.0.1/32 dev lo",
		"mount --make-rprivate /", "mount --bind hosts /etc/hosts",
		"ffmpeg -v error -f lavfi -i testsrc=size=320x180:rate=25 -t 1 -c:v mpeg2video in.mp4",
	} {
		if out, err := runShell(t, dir, nil, line, 0); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
}

// docPage runs the commands of one page.
type docPage struct {
	*testing.T
	dir    string
	begun  bool
	server *served
	world  world
}

// run runs a block.
func (p *docPage) run(f fences.Block) {
	p.Helper()
	steps, err := f.Steps()
	if err != nil {
		p.Error(err)
		return
	}
	if f.Serve {
		p.serve(f.String(), steps[0].Command)
		return
	}
	for _, s := range steps {
		p.attempt(f, s)
	}
}

// attempt runs a command until it succeeds: what it shows may take a moment, as a probe
// does, or a rate.
func (p *docPage) attempt(f fences.Block, s fences.Step) {
	p.Helper()
	var (
		line, out, missing string
		err                error
	)
	if !eventually(func() bool {
		line = p.withRealSessions(s.Command)
		out, err = runShell(p.T, p.dir, p.world.env, line, f.During)
		missing = s.Missing(out)
		return exitCode(err) == f.Exit && missing == ""
	}) {
		p.Errorf("%s: %s: %v\nprints\n%s\nnot %q", f, line, err, out, missing)
	}
}

// exitCode returns the exit code of a command, -1 if it has none.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return -1
}

// sessionID is how the pages write one. Those of this run are others.
var sessionID = regexp.MustCompile(`\b\d+-\d+-\d+\b`)

// withRealSessions puts the ID of a session of a publisher in place of those in a command.
func (p *docPage) withRealSessions(line string) string {
	if !sessionID.MatchString(line) || strings.Contains(line, "vid-") {
		return line
	}
	out, err := runShell(p.T, p.dir, p.world.env, "srtrelay sessions --role publisher --json", 0)
	id := sessionID.FindString(out)
	if err != nil || id == "" {
		return line
	}
	return sessionID.ReplaceAllString(line, id)
}

// runShell runs a line of bash in a folder, with the binary under test first in PATH. After
// during, if that is not 0, it is interrupted, which is no failure.
func runShell(t *testing.T, dir string, env []string, line string, during time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := clocale.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", line)
	cmd.Dir = dir
	cmd.Env = append(append(cmd.Env, "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH")), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	var interrupted atomic.Bool
	if during > 0 {
		timer := time.AfterFunc(during, func() {
			interrupted.Store(true)
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		})
		defer timer.Stop()
	}
	err := cmd.Wait()
	if interrupted.Load() && exitCode(err) != 1 {
		err = nil
	}
	return out.String(), err
}

// served is a relay that a page has started.
type served struct {
	cmd *exec.Cmd
	log bytes.Buffer
	end chan error
}

// serve starts a relay in place of the one before, and waits until it relays.
func (p *docPage) serve(at, line string) {
	p.Helper()
	p.stop()
	s := &served{cmd: clocale.Command("bash", "-euc", "exec env "+line), end: make(chan error, 1)}
	s.cmd.Dir = p.dir
	s.cmd.Env = append(s.cmd.Env, "PATH="+filepath.Join(p.dir, "bin")+":"+os.Getenv("PATH"), "SRTRELAY_GRACE=0s", "SRTRELAY_SHARDS=1")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := s.cmd.StderrPipe()
	must(p.T, err)
	must(p.T, s.cmd.Start())
	relaying := make(chan struct{})
	go func() {
		scan := bufio.NewScanner(io.TeeReader(stderr, &s.log))
		for scan.Scan() {
			if strings.Contains(scan.Text(), "msg=relaying ") {
				close(relaying)
			}
		}
		s.end <- s.cmd.Wait()
	}()
	select {
	case <-relaying:
		p.server = s
		p.world.started(p, line)
	case err := <-s.end:
		p.Fatalf("%s: %s: %v\n%s", at, line, err, &s.log)
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		p.Fatalf("%s: %s: does not start\n%s", at, line, <-s.end)
	}
}

// stop ends the relay that runs, if any.
func (p *docPage) stop() {
	p.Helper()
	s := p.server
	if s == nil {
		return
	}
	p.server = nil
	p.world.ending()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.end:
		if err != nil {
			p.Errorf("%v ends: %v\n%s", s.cmd.Args, err, &s.log)
		}
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		p.Errorf("%v does not end: %v", s.cmd.Args, <-s.end)
	}
}
