package config

import (
	"strconv"
	"strings"
	"testing"
)

// Each bad input gives exactly this line.
func TestRefusals(t *testing.T) {
	type env = map[string]string
	file := func(text string) source { return source{args: "--config relay.yaml", file: text} }
	flags := func(text string) source { return source{args: text} }
	for _, c := range []struct {
		in   source
		want string
	}{
		{flags("--listen abc:99999"), `config: --listen: "abc:99999": port out of range`},
		{file("shard: 4"), `config: relay.yaml:1: key "shard": unknown key, did you mean "shards"?`},
		{source{env: env{"SRTRELAY_SHARDS": "x"}}, `config: SRTRELAY_SHARDS: "x": not a number`},
		{source{env: env{"PROXY_SRT_SERVER": "x"}}, `config: PROXY_SRT_SERVER: "x": port missing`},
		{file("shards: x"), `config: relay.yaml:1: key "shards": "x": not a number`},
		{source{args: "--config relay.yaml --shards 2", file: "shards: x"}, `config: relay.yaml:1: key "shards": "x": not a number`},

		// Command line.
		{flags("--shard 4"), `config: --shard: unknown flag, did you mean "--shards"?`},
		{flags("--max_sessions=4"), `config: --max_sessions: unknown flag, did you mean "--max-sessions"?`},
		{flags("-shards 4"), `config: -shards: unknown flag, did you mean "--shards"?`},
		{flags("--steer=hash"), `config: --steer: "hash": not cpu or flow`},
		{flags("--steer=cpu --pin=off"), `config: --steer: "cpu": shards have no CPU with --pin off`},
		{flags("--telemetry=auto"), `config: --telemetry: "auto": not on or off`},
		{flags("--shards"), `config: --shards: value missing`},
		{flags("--=x"), `config: bad flag syntax: --=x`},
		{flags("serve"), `config: "serve": unexpected argument`},

		// File.
		{flags("--config gone.yaml"), `config: file gone.yaml: file does not exist`},
		{file("- a"), `config: relay.yaml:1: not a mapping of settings to values`},
		{file("shards: [1, 2]"), `config: relay.yaml:1: key "shards": must be one plain value`},
		{file("listen: [[1]]"), `config: relay.yaml:1: key "listen": items must be plain values`},
		{file("shards:"), `config: relay.yaml:1: key "shards": value missing`},
		{file("shards: 1\nshards: 2"), `config: relay.yaml:2: key "shards": set twice, first in line 1`},
		{file("config: x"), `config: relay.yaml:1: key "config": unknown key`},
		{file("---\nshards: 1\n---\nshards: 2\n"), `config: relay.yaml:3: more than one document`},
		{file("? [a]\n: b"), `config: relay.yaml:1: key "": unknown key`},
		{file("shards: [1"), `config: relay.yaml:1: did not find expected ',' or ']'`},
		{file(strings.Repeat("#", maxFile+1)), `config: file relay.yaml: larger than 1048576 bytes`},
		{file("listen: []"), `config: relay.yaml:1: key "listen": no listen address`},

		// Addresses.
		{flags("--cluster-listen 10.0.0.1:20081"), `config: --cluster-listen: "10.0.0.1:20081": needs --state redis, by which relays find each other`},
		{flags("--state redis --cluster-listen :20081"), `config: --cluster-listen: ":20081": needs an address, at which other relays reach this one`},
		{flags("--state redis --cluster-listen [::]:20081"), `config: --cluster-listen: "[::]:20081": needs one address, at which other relays reach this one`},
		{flags("--state redis --cluster-listen [fe80::1%2]:20081"), `config: --cluster-listen: "[fe80::1%2]:20081": a link-local address means another host to each relay`},
		{flags("--state redis --cluster-listen 10.0.0.1:20080"), `config: --cluster-listen: "10.0.0.1:20080": callers reach it, which is no address for relays`},
		{flags("--listen="), `config: --listen: "": address missing`},
		{flags("--listen 1,,2"), `config: --listen: "": address missing`},
		{flags("--listen 70000"), `config: --listen: "70000": port out of range`},
		{flags("--listen :x"), `config: --listen: ":x": port is not a number`},
		{flags("--listen :"), `config: --listen: ":": port missing`},
		{flags("--listen [::1]"), `config: --listen: "[::1]": port missing`},
		{flags("--listen ::1:20080"), `config: --listen: "::1:20080": an IPv6 address needs brackets, like [::1]:20080`},
		{flags("--listen localhost:20080"), `config: --listen: "localhost:20080": not an IP address`},
		{flags("--listen 239.1.1.1:20080"), `config: --listen: "239.1.1.1:20080": not the address of one host`},
		{flags("--listen [fe80::1%eth0]:20080"), `config: --listen: "[fe80::1%eth0]:20080": the zone must be an interface index`},
		{flags(listens(257)), `config: --listen: "20256": more than 256 listen addresses`},
		{flags("--upstream-ports 65"), `config: --upstream-ports: "65": out of range 1 to 64`},
		{flags("--listen tcp://:20080"), `config: --listen: "tcp://:20080": unknown scheme "tcp", expected udp:// or srt://`},
		{flags("--listen udp://:20080/live"), `config: --listen: "udp://:20080/live": takes an address and a port only`},
		{flags("--listen :20080 --listen 20080"), `config: --listen: "20080": listed twice`},
		{flags("--listen :20080 --listen 0.0.0.0:20080"), `config: --listen: "0.0.0.0:20080": overlaps [::]:20080`},
		{flags("--api x"), `config: --api: "x": port missing`},
		{flags("--api example:80"), `config: --api: "example:80": not an IP address`},
		{flags("--api :12025"), `config: --api: "[::]:12025": other hosts could reach it, which needs --register-token or --api-allow-remote`},
		{
			source{env: env{"PROXY_SYSTEM_API": "10.0.0.1:12025"}},
			`config: PROXY_SYSTEM_API: "10.0.0.1:12025": other hosts could reach it, which needs --register-token or --api-allow-remote`,
		},
		{flags("--api-allow-remote=si"), `config: --api-allow-remote: "si": not true or false`},

		{flags("--event-log="), `config: --event-log: "": file name missing`},
		{flags("--event-log-size=1KiB"), `config: --event-log-size: "1KiB": out of range 65536 to 17179869184 bytes`},
		{flags("--name="), `config: --name: "": not 1 to 64 bytes long`},
		{flags("--name=" + strings.Repeat("x", 65)), `config: --name: "` + strings.Repeat("x", 65) + `": not 1 to 64 bytes long`},
		{file("name: ' edge'"), `config: relay.yaml:1: key "name": " edge": begins or ends with a blank, or holds characters that are not printable`},

		{flags("--metrics-streams=-1"), `config: --metrics-streams: "-1": out of range 0 to 10000`},
		{flags("--metrics-streams=10001"), `config: --metrics-streams: "10001": out of range 0 to 10000`},

		// Backends.
		{flags("--backend origin"), `config: --backend: "origin": port missing`},
		{flags("--backend 10080"), `config: --backend: "10080": host missing`},
		{flags("--backend rtmp://a:1935"), `config: --backend: "rtmp://a:1935": unknown scheme "rtmp", expected srt:// or udp://`},
		{flags("--backend srt://a:1?streamid=x"), `config: --backend: "srt://a:1?streamid=x": takes an address and a port only`},
		{flags("--backend a:1?weight=0"), `config: --backend: "a:1?weight=0": weight is not a number from 1 to 1000`},
		{flags("--backend a:1?weight="), `config: --backend: "a:1?weight=": weight is not a number from 1 to 1000`},
		{flags("--backend a:1?weight=2&x"), `config: --backend: "a:1?weight=2&x": weight is not a number from 1 to 1000`},
		{flags("--backend a:1?weight=1001"), `config: --backend: "a:1?weight=1001": weight is not a number from 1 to 1000`},
		{flags("--backend srv://"), `config: --backend: "srv://": name missing`},
		{flags("--backend srv://a.test:10080"), `config: --backend: "srv://a.test:10080": takes a name only: the ports are in its SRV records`},
		{flags("--backend srv://a..test"), `config: --backend: "srv://a..test": not a host name`},
		{flags("--backend srv://a.test?weight=2"), `config: --backend: "srv://a.test?weight=2": the weights of SRV records count, not one here`},
		{flags("--backend srv://a.test,SRV://_srt._udp.a.test/"), `config: --backend: "SRV://_srt._udp.a.test/": listed twice`},
		{flags("--backend-ttl 1s"), `config: --backend-ttl: "1s": out of range 2s to 24h0m0s`},
		{flags("--backend-ttl 300"), `config: --backend-ttl: "300": not a duration, write it like "30s"`},
		{source{env: env{"PROXY_ORIGIN_SERVER_TTL": "x"}}, `config: PROXY_ORIGIN_SERVER_TTL: "x": not a duration, write it like "30s"`},

		// A token is never shown.
		{flags("--register-token="), `config: --register-token: "***": not 8 to 256 characters long`},
		{flags("--register-token=secret"), `config: --register-token: "***": not 8 to 256 characters long`},
		{source{env: env{"SRTRELAY_REGISTER_TOKEN": "two words"}}, `config: SRTRELAY_REGISTER_TOKEN: "***": holds blanks or letters that are not ASCII`},
		{file("register-token: ''"), `config: relay.yaml:1: key "register-token": "***": not 8 to 256 characters long`},
		{flags("--api-tls-cert="), `config: --api-tls-cert: "": file name missing`},
		{flags("--api-tls-cert=c.pem"), `config: --api-tls-cert: needs --api-tls-key too`},
		{source{env: env{"SRTRELAY_API_TLS_KEY": "k.pem"}}, `config: SRTRELAY_API_TLS_KEY: needs --api-tls-cert too`},
		{flags("--read-token=secret"), `config: --read-token: "***": not 8 to 256 characters long`},
		{flags("--read-token=for-readers"), `config: --read-token: needs --register-token, without which everybody may change what only some may read`},
		{flags("--register-token=for-readers --read-token=for-readers"), `config: --read-token: the same as --register-token, give readers another`},
		{flags("--backend a:0"), `config: --backend: "a:0": port out of range`},
		{flags("--backend a..b:1"), `config: --backend: "a..b:1": not a host name`},
		{flags("--backend 10.0.0.256:1"), `config: --backend: "10.0.0.256:1": not an IP address`},
		{flags("--backend 0.0.0.0:1"), `config: --backend: "0.0.0.0:1": not the address of one host`},
		{flags("--backend a:1 --backend srt://A:1"), `config: --backend: "srt://A:1": listed twice`},
		{flags("--backend 127.0.0.1:20080"), `config: --backend: "127.0.0.1:20080": is the relay itself`},
		{flags("--backend localhost:20080"), `config: --backend: "localhost:20080": is the relay itself`},
		{flags("--listen 10.0.0.1:99 --backend 10.0.0.1:99"), `config: --backend: "10.0.0.1:99": is the relay itself`},
		{source{env: env{"PROXY_DEFAULT_BACKEND_ENABLED": "yes"}}, `config: PROXY_DEFAULT_BACKEND_ENABLED: "yes": not on or off`},
		{
			source{env: env{"PROXY_DEFAULT_BACKEND_ENABLED": "on", "PROXY_DEFAULT_BACKEND_SRT": "x"}},
			`config: PROXY_DEFAULT_BACKEND_SRT: "x": port missing`,
		},
		{flags("--rules="), `config: --rules: "": file name missing`},

		// Choices.
		{flags("--policy best"), `config: --policy: "best": not one of least-sessions, hash, random`},
		{flags("--state disk"), `config: --state: "disk": not memory or redis`},
		{
			source{env: env{"PROXY_LOAD_BALANCER_TYPE": "none"}},
			`config: PROXY_LOAD_BALANCER_TYPE: "none": not memory or redis`,
		},
		{flags("--players-create=si"), `config: --players-create: "si": not true or false`},
		{flags("--affinity 15"), `config: --affinity: "15": not a duration, write it like "30s"`},
		{flags("--affinity=-1s"), `config: --affinity: "-1s": out of range 0s to 24h0m0s`},
		{flags("--gro on"), `config: --gro: "on": not auto or off`},
		{flags("--gso 1"), `config: --gso: "1": not auto or off`},
		{flags("--log-level loud"), `config: --log-level: "loud": not one of debug, info, warn, error`},
		{flags("--log-format xml"), `config: --log-format: "xml": not text or json`},

		// Numbers.
		{flags("--shards 0"), `config: --shards: "0": out of range 1 to 1024`},
		{flags("--shards 1025"), `config: --shards: "1025": out of range 1 to 1024`},
		{flags("--shards 99999999999999999999"), `config: --shards: "99999999999999999999": out of range 1 to 1024`},
		{flags("--batch 0"), `config: --batch: "0": out of range 1 to 1024`},
		{flags("--upstream-ports 65"), `config: --upstream-ports: "65": out of range 1 to 64`},
		{flags("--max-sessions -1"), `config: --max-sessions: "-1": out of range 1 to 4000000`},
		{flags("--max-bitrate-per-stream 20"), `config: --max-bitrate-per-stream: "20": not a bitrate like 20Mbps, with kbps, Mbps or Gbps`},
		{flags("--max-bitrate-per-source 20MBps"), `config: --max-bitrate-per-source: "20MBps": not a bitrate like 20Mbps, with kbps, Mbps or Gbps`},
		{flags("--max-connects-per-source -1"), `config: --max-connects-per-source: "-1": out of range 0 to 1000000`},
		{flags("--max-sessions-per-source -1"), `config: --max-sessions-per-source: "-1": out of range 0 to 4000000`},
		{flags("--max-handshakes 0"), `config: --max-handshakes: "0": out of range 1 to 4000000`},
		{flags("--max-handshakes-per-source -1"), `config: --max-handshakes-per-source: "-1": out of range 0 to 4000000`},
		{flags("--rcvbuf 16M"), `config: --rcvbuf: "16M": not a size, write it like "16MiB" or in bytes`},
		{flags("--rcvbuf 1KiB"), `config: --rcvbuf: "1KiB": out of range 65536 to 1073741823 bytes`},
		{flags("--sndbuf 1GiB"), `config: --sndbuf: "1GiB": out of range 65536 to 1073741823 bytes`},
		{flags("--sndbuf 99999999999GiB"), `config: --sndbuf: "99999999999GiB": size out of range`},
		{flags("--idle-timeout 30"), `config: --idle-timeout: "30": not a duration, write it like "30s"`},
		{flags("--idle-timeout 0s"), `config: --idle-timeout: "0s": out of range 1s to 24h0m0s`},
		{flags("--backend-silence 10ms"), `config: --backend-silence: "10ms": out of range 1s to 24h0m0s`},
		{flags("--grace -1s"), `config: --grace: "-1s": out of range 0s to 24h0m0s`},
		{flags("--grace 24h1s"), `config: --grace: "24h1s": out of range 0s to 24h0m0s`},
		{flags("--drain-delay 5"), `config: --drain-delay: "5": not a duration, write it like "30s"`},
		{flags("--drain-delay -1s"), `config: --drain-delay: "-1s": out of range 0s to 24h0m0s`},
		{flags("--drain-delay 25h"), `config: --drain-delay: "25h": out of range 0s to 24h0m0s`},
		{flags("--session-ledger ledger"), `config: --session-ledger: "ledger": not off or an absolute path`},
		{flags("--session-ledger="), `config: --session-ledger: "": not off or an absolute path`},
		{flags("--takeover-socket socket"), `config: --takeover-socket: "socket": not off or an absolute path`},
		{flags("--takeover-socket /" + strings.Repeat("x", 106)), `config: --takeover-socket: "/` + strings.Repeat("x", 106) + `": longer than 106 bytes`},
		{flags("--takeover on"), `config: --takeover: "on": not one of never, auto, require`},
		{flags("--takeover auto"), `config: --takeover: "auto": needs --takeover-socket or RUNTIME_DIRECTORY`},
		{flags("--takeover require --takeover-socket off"), `config: --takeover: "require": needs --takeover-socket or RUNTIME_DIRECTORY`},
		{flags("--pin 0-"), `config: --pin: "0-": not auto, off or a CPU list like 0,2-5`},
		{flags("--pin on"), `config: --pin: "on": not auto, off or a CPU list like 0,2-5`},
		{flags("--pin 5-2"), `config: --pin: "5-2": range "5-2" runs backwards`},
		{flags("--pin 1,0-2"), `config: --pin: "1,0-2": CPU 1 listed twice`},
		{flags("--pin 1024"), `config: --pin: "1024": CPU out of range 0 to 1023`},
		{flags("--pin 0,1 --shards 3"), `config: --pin: lists 2 CPUs for 3 shards`},
	} {
		_, err := c.in.load()
		if err == nil {
			t.Errorf("accepted, want %s", c.want)
		} else if err.Error() != c.want {
			t.Errorf("got  %s\nwant %s", err, c.want)
		}
	}
}

// listens is n listen addresses, from port 20000 on.
func listens(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(" --listen " + strconv.Itoa(20000+i))
	}
	return b.String()
}

func TestAsManyListenAddressesAsASessionCanName(t *testing.T) {
	if c, err := (source{args: listens(256)}).load(); err != nil || len(c.Listen) != 256 {
		t.Errorf("%d listen addresses, %v", len(c.Listen), err)
	}
}

func TestTooManyBackendsRefused(t *testing.T) {
	var b strings.Builder
	for i := range maxBackends + 1 {
		b.WriteString(" --backend 10.0.0.1:" + strconv.Itoa(10000+i))
	}
	const want = `config: --backend: "10.0.0.1:14096": more than 4096 static backends`
	if _, err := (source{args: b.String()}).load(); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
