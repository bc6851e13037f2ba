//go:build linux

package peers

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"

	"srtrelay/bench/lab"
	"srtrelay/internal/clocale"
)

// streamModules are where distributions put the stream module; built-in
// needs none.
var streamModules = []string{
	"/usr/lib/nginx/modules/ngx_stream_module.so",
	"/usr/lib64/nginx/modules/ngx_stream_module.so",
}

// NginxConfig is what the configuration is made from.
type NginxConfig struct {
	Module      string
	Dir         string
	Listen      string
	Connections int
	Files       int
	Backends    []netip.AddrPort
}

// nginxText has a reason for each line, which shows that nginx has its best settings. What
// else was tried is in bench/notes/tried.md.
var nginxText = template.Must(template.New("nginx").Parse(`# nginx as a UDP proxy for SRT, tuned as far as its stream module goes.
{{- if .Module}}
# The stream module comes as a file of its own in Debian.
load_module {{.Module}};
{{- end}}
# In the foreground, so that the bench can end it.
daemon off;
# Workers keep root's rights: nothing here needs others.
user root;
# One worker on one CPU, as one shard of the relay.
worker_processes 1;
# Two descriptors per session.
worker_rlimit_nofile {{.Files}};
pid {{.Dir}}/nginx.pid;
# A line per lost datagram would cost more than the datagram.
error_log stderr crit;
events {
	use epoll;
	# A UDP session takes two connections. Much more is waste: the array is
	# walked at the start.
	worker_connections {{.Connections}};
	# Reads the listener until it is empty instead of one datagram per wake-up.
	multi_accept on;
	# With one worker there is nobody to take turns with.
	accept_mutex off;
}
stream {
	# A variable that is used per session only; no access log is written.
	access_log off;
	upstream backends {
		# By address and port, because all callers come from one address. The
		# choice falls once per session.
		hash $remote_addr:$remote_port consistent;
		{{- range .Backends}}
		# max_fails=0: a refusal must not take a backend out of a measurement.
		server {{.}} max_fails=0;
		{{- end}}
	}
	server {
		# The buffers are those of the relay; the kernel's limit applies to both.
		listen {{.Listen}} udp reuseport rcvbuf=16m sndbuf=16m;
		proxy_pass backends;
		# No session ends while it is measured.
		proxy_timeout 1h;
		# Any number of datagrams either way: neither proxy_requests nor
		# proxy_responses is set, which would end sessions.
		# Large enough for any datagram, and no larger than one page: it is
		# allocated per session.
		proxy_buffer_size 4k;
	}
}
`))

// WriteNginx writes the configuration into its directory and returns it.
func WriteNginx(c NginxConfig) (string, error) {
	var b strings.Builder
	if err := nginxText.Execute(&b, c); err != nil {
		return "", fmt.Errorf("write nginx.conf: %w", err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "nginx.conf"), []byte(b.String()), 0o644); err != nil {
		return "", fmt.Errorf("write nginx.conf: %w", err)
	}
	return b.String(), nil
}

type nginx struct{}

// Nginx is nginx with its stream module.
func Nginx() Peer { return nginx{} }

// Name implements Peer.
func (nginx) Name() string { return "nginx" }

// nginxConfig fits the settings to the site.
func nginxConfig(s Site) NginxConfig {
	c := NginxConfig{
		Dir: s.Dir, Listen: front().String(), Connections: 2*s.Sessions + 512, Files: 2*s.Sessions + 1024,
		Backends: s.Backends,
	}
	for _, file := range streamModules {
		if _, err := os.Stat(file); err == nil {
			c.Module = file
			break
		}
	}
	return c
}

// Start implements Peer.
func (nginx) Start(s Site) (*Running, error) {
	text, err := WriteNginx(nginxConfig(s))
	if err != nil {
		return nil, err
	}
	args := []string{"nginx", "-p", s.Dir, "-c", filepath.Join(s.Dir, "nginx.conf")}
	p, err := s.Origin.Start(lab.Program{Label: "nginx", Args: args, CPUs: s.CPUs})
	if err != nil {
		return nil, err
	}
	pids := []int{p.PID}
	// The port is bound by the master; the worker is there a moment later.
	err = await(p, func() bool {
		pids = append(pids[:1], children(p.PID)...)
		return len(pids) > 1 && portTaken(s.Origin, front())
	})
	if err != nil {
		p.Stop(stopPatience)
		return nil, err
	}
	return &Running{
		Targets: []netip.AddrPort{front()}, PIDs: pids, Config: text,
		// Not at once: a killed master leaves its worker behind.
		stop: func() error { p.Stop(stopPatience); return nil },
	}, nil
}

// children are the direct children of a process.
func children(pid int) []int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	var pids []int
	for word := range strings.FieldsSeq(string(text)) {
		if n, err := strconv.Atoi(word); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

// NginxVersion returns the program's version, or why there is none.
func NginxVersion() string {
	out, err := clocale.Command("nginx", "-v").CombinedOutput()
	if err != nil {
		return "not installed"
	}
	_, version, _ := strings.Cut(strings.TrimSpace(string(out)), "nginx version: ")
	return version
}
