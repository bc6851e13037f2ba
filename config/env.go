package config

import (
	"errors"
	"net"
	"strconv"
	"strings"
)

// envName returns the variable of a setting.
func envName(name string) string {
	return "SRTRELAY_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// readEnv reads the SRTRELAY_ variables. An empty one counts as unset, because compose
// files and unit templates often set empty variables.
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

// readAliases reads the variables of SRS's proxy, except overridden ones: the environment
// may be that of a proxy on the same host, with values that only the proxy knows.
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

// readDefaultBackend reads the proxy's default backend from three variables: a switch, an
// address and a port, the latter two with defaults.
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
	// A listen address such as udp://0.0.0.0:10080 only names the port.
	if host == "" || host == "0.0.0.0" || host == "::" {
		origin, host = ipName, strings.Trim(ip, "[]")
	}
	target := net.JoinHostPort(host, strconv.Itoa(int(e.port)))
	l["backend"] = value{texts: []string{target}, origin: origin}
	return nil
}
