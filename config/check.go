package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// check compares settings with each other. Each one was checked alone when it was parsed.
func (c *Config) check(from origins) error {
	if err := c.checkListen(from); err != nil {
		return err
	}
	if err := c.checkAPI(from); err != nil {
		return err
	}
	if err := c.checkBackends(from); err != nil {
		return err
	}
	if err := c.checkCluster(from); err != nil {
		return err
	}
	if c.SteerByCPU && !c.Pin.Auto && len(c.Pin.CPUs) == 0 {
		return bad(from.of("steer"), "cpu", errors.New("shards have no CPU with --pin off"))
	}
	if n := len(c.Pin.CPUs); n > 0 && n < c.Shards {
		return fmt.Errorf("config: %s: lists %d CPUs for %d shards", from.of("pin"), n, c.Shards)
	} else if n > c.Shards {
		c.warn("%s: lists %d CPUs for %d shards, the rest stay unused", from.of("pin"), n, c.Shards)
	}
	return nil
}

func (c *Config) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}

func (c *Config) checkListen(from origins) error {
	if len(c.Listen) == 0 {
		return fmt.Errorf("config: %s: no listen address", from.of("listen"))
	}
	for i, a := range c.Listen {
		for _, b := range c.Listen[:i] {
			// [::] is dual-stack: with 0.0.0.0 beside it, which socket gets
			// an IPv4 caller would depend on the kernel.
			if a.Port() == b.Port() && a.Addr().IsUnspecified() && b.Addr().IsUnspecified() {
				return bad(from.of("listen"), a.String(), fmt.Errorf("overlaps %s", b))
			}
		}
	}
	return nil
}

func (c *Config) checkAPI(from origins) error {
	if url.PathEscape(c.RegisterToken) != c.RegisterToken || strings.ContainsAny(c.RegisterToken, ";{}'\"#") {
		c.warn("%s: holds characters that the heartbeat's url in srs.conf must have percent-encoded, like / as %%2F", from.of("register-token"))
	}
	if (c.APICert == "") != (c.APIKey == "") {
		set, missing := "api-tls-cert", "api-tls-key"
		if c.APICert == "" {
			set, missing = missing, set
		}
		return fmt.Errorf("config: %s: needs --%s too", from.of(set), missing)
	}
	switch c.ReadToken {
	case "":
	case c.RegisterToken:
		return fmt.Errorf("config: %s: the same as --register-token, give readers another", from.of("read-token"))
	default:
		if c.RegisterToken == "" {
			return fmt.Errorf("config: %s: needs --register-token, without which everybody may change what only some may read", from.of("read-token"))
		}
	}
	if c.API.Addr().IsLoopback() {
		if v := from["api"]; v.origin == "PROXY_SYSTEM_API" && !strings.Contains(v.texts[0], "127.0.0.1") {
			c.warn("PROXY_SYSTEM_API: the API listens on %s, unlike that of SRS's proxy: "+
				"servers on other hosts can register with --api HOST:PORT and --register-token", c.API)
		}
		return nil
	}
	if c.RegisterToken == "" && !c.APIAllowRemote {
		return bad(from.of("api"), c.API.String(), errors.New("other hosts could reach it, which needs --register-token or --api-allow-remote"))
	}
	if c.RegisterToken == "" {
		c.warn("%s: %s can be reached from other hosts and asks nobody who they are, set --register-token", from.of("api"), c.API)
	}
	return nil
}

func (c *Config) checkCluster(from origins) error {
	at := c.ClusterListen
	switch {
	case !at.IsValid():
		return nil
	case c.State != "redis":
		return bad(from.of("cluster-listen"), at.String(), errors.New("needs --state redis, by which relays find each other"))
	}
	for _, l := range c.Listen {
		if at.Port() != 0 && l.Port() == at.Port() && (l.Addr() == at.Addr() || l.Addr().IsUnspecified()) {
			return bad(from.of("cluster-listen"), at.String(), errors.New("callers reach it, which is no address for relays"))
		}
	}
	if at.Addr().IsLoopback() {
		c.warn("%s: %s cannot be reached by relays on other hosts", from.of("cluster-listen"), at)
	}
	return nil
}

func (c *Config) checkTakeOver(from origins) error {
	// sockaddr_un has 108 bytes, with a zero at the end. While a socket is replaced, the
	// new one's name has one more byte.
	const most = 106
	switch {
	case len(c.TakeOverSocket) > most:
		return bad(from.of("takeover-socket"), c.TakeOverSocket, fmt.Errorf("longer than %d bytes", most))
	case c.TakeOver != TakeOverNever && c.TakeOverSocket == "":
		return bad(from.of("takeover"), c.TakeOver, errors.New("needs --takeover-socket or RUNTIME_DIRECTORY"))
	}
	return nil
}

func (c *Config) checkBackends(from origins) error {
	if len(c.Backends) == 0 {
		c.warn("no backend: callers are refused until one registers, or set --backend srt://host:port")
	}
	var local []string
	for _, b := range c.Backends {
		host := strings.Replace(b, "localhost:", "127.0.0.1:", 1)
		to, err := netip.ParseAddrPort(host)
		if err != nil {
			continue // a name, which is resolved later
		}
		if to.Addr().IsLoopback() {
			local = append(local, b)
		}
		for _, l := range c.Listen {
			if l == to || l.Port() == to.Port() && l.Addr().IsUnspecified() && to.Addr().IsLoopback() {
				return bad(from.of("backend"), b, errors.New("is the relay itself"))
			}
		}
	}
	if c.State == "redis" && len(local) > 0 {
		c.warn("%s: with --state redis other relays share %s, which is another process on each host",
			from.of("backend"), strings.Join(local, ", "))
	}
	return nil
}
