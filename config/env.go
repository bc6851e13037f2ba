package config

import (
	"errors"
	"net"
	"strconv"
	"strings"
)

// envName is the variable of a setting.
func envName(name string) string {
	return "SRTRELAY_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// readEnv collects the SRTRELAY_ variables. An empty one counts as unset:
// compose files and unit templates leave them behind.
func readEnv(env func(string) (string, bool)) layer {
	l := layer{}
	for i := range fields {
		f := &fields[i]
		if text, _ := env(envName(f.name)); text != "" {
			l[f.name] = value{texts: f.split(text), origin: envName(f.name)}
		}
	}
	return l
}

// readAliases collects the variables of SRS's proxy. One that is overridden
// is not looked at: the environment may be meant for a proxy beside the
// relay, and say what only that proxy can do.
func readAliases(env func(string) (string, bool), flags commandLine, vars layer) (layer, error) {
	l := layer{}
	for i := range fields {
		f := &fields[i]
		_, flagged := flags.set[f.name]
		_, set := vars[f.name]
		if flagged || set {
			continue
		}
		if f.name == "backend" {
			if err := readDefaultBackend(env, l); err != nil {
				return nil, err
			}
			continue
		}
		if f.name == "redis" {
			if err := readRedisAlias(env, l); err != nil {
				return nil, err
			}
			continue
		}
		for _, alias := range f.aliases {
			if text, _ := env(alias); text != "" {
				l[f.name] = value{texts: f.split(text), origin: alias}
			}
		}
	}
	return l, nil
}

// readDefaultBackend reads the proxy's default backend, which is a switch, an
// address and a port in three variables, the latter two with defaults.
func readDefaultBackend(env func(string) (string, bool), l layer) error {
	const enabled, ipName, srtName = "PROXY_DEFAULT_BACKEND_ENABLED", "PROXY_DEFAULT_BACKEND_IP", "PROXY_DEFAULT_BACKEND_SRT"
	switch on, _ := env(enabled); on {
	case "", "off":
		return nil
	case "on":
	default:
		return bad(enabled, on, errors.New("not on or off"))
	}
	ip, _ := env(ipName)
	if ip == "" {
		ip = "127.0.0.1"
	}
	srt, _ := env(srtName)
	if srt == "" {
		srt = "10080"
	}
	e, err := parseEndpoint(srt, "udp", "srt")
	if err != nil {
		return bad(srtName, srt, err)
	}
	origin, host := srtName, e.host
	// A listen form such as udp://0.0.0.0:10080 names the port only.
	if host == "" || host == "0.0.0.0" || host == "::" {
		origin, host = ipName, strings.Trim(ip, "[]")
	}
	target := net.JoinHostPort(host, strconv.Itoa(int(e.port)))
	l["backend"] = value{texts: []string{target}, origin: origin}
	return nil
}
