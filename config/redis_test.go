package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestRedisURLs(t *testing.T) {
	for text, want := range map[string]Redis{
		"redis://127.0.0.1":                           {Mode: "single", Addrs: []string{"127.0.0.1:6379"}},
		"redis://127.0.0.1:6380/":                     {Mode: "single", Addrs: []string{"127.0.0.1:6380"}},
		"REDIS://Host.Example:1/15":                   {Mode: "single", Addrs: []string{"host.example:1"}, DB: 15},
		"redis://[::1]":                               {Mode: "single", Addrs: []string{"[::1]:6379"}},
		"redis://[::1]:6380":                          {Mode: "single", Addrs: []string{"[::1]:6380"}},
		"redis://:p%40ss:w@h":                         {Mode: "single", Addrs: []string{"h:6379"}, Password: "p@ss:w"},
		"rediss://u%3Aser:@h/3":                       {Mode: "single", Addrs: []string{"h:6379"}, Username: "u:ser", DB: 3, TLS: true},
		"redis+sentinel://a:1,b/mymaster":             {Mode: "sentinel", Addrs: []string{"a:1", "b:26379"}, Master: "mymaster"},
		"redis+cluster://h1,h2:7000,[::1]":            {Mode: "cluster", Addrs: []string{"h1:6379", "h2:7000", "[::1]:6379"}},
		"rediss+cluster://:x@h1":                      {Mode: "cluster", Addrs: []string{"h1:6379"}, Password: "x", TLS: true},
		"redis+cluster://h1/":                         {Mode: "cluster", Addrs: []string{"h1:6379"}},
		"rediss+sentinel://u:p@[::1]/m/4":             {Mode: "sentinel", Addrs: []string{"[::1]:26379"}, Master: "m", DB: 4, Username: "u", Password: "p", TLS: true},
		"redis+sentinel://a/m?sentinel_password=s%26": {Mode: "sentinel", Addrs: []string{"a:26379"}, Master: "m", SentinelPassword: "s&"},
	} {
		got, err := parseRedis(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v, %v\nwant %+v", text, got, err, want)
		}
	}
}

func TestRedisRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"":                             `"": not a URL like redis://127.0.0.1:6379/0`,
		"127.0.0.1:6379":               `"127.0.0.1:6379": not a URL like redis://127.0.0.1:6379/0`,
		"http://h":                     `"http://h": unknown scheme "http", expected redis, redis+sentinel or redis+cluster, or rediss for TLS`,
		"redis+ring://h":               `"redis+ring://h": unknown scheme "redis+ring", expected redis, redis+sentinel or redis+cluster, or rediss for TLS`,
		"redis+://h":                   `"redis+://h": unknown scheme "redis+", expected redis, redis+sentinel or redis+cluster, or rediss for TLS`,
		"redis://":                     `"redis://": host "": address missing`,
		"redis://h:":                   `"redis://h:": host "h:": port missing`,
		"redis://h:x":                  `"redis://h:x": host "h:x": port is not a number`,
		"redis://h:70000":              `"redis://h:70000": host "h:70000": port out of range`,
		"redis://a..b":                 `"redis://a..b": host "a..b:6379": not a host name`,
		"redis://a,b":                  `"redis://a,b": several hosts need redis+sentinel:// or redis+cluster://`,
		"redis://h/x":                  `"redis://h/x": database "x" is not a number from 0 on`,
		"redis://h/-1":                 `"redis://h/-1": database "-1" is not a number from 0 on`,
		"redis://h/1/2":                `"redis://h/1/2": database "1/2" is not a number from 0 on`,
		"redis://h?db=1":               `"redis://h": query holds more than sentinel_password, which is for redis+sentinel only`,
		"redis://h?sentinel_password=": `"redis://h": query holds more than sentinel_password, which is for redis+sentinel only`,
		"redis+sentinel://h":           `"redis+sentinel://h": name of the master missing after the hosts`,
		"redis+sentinel://h/m/x":       `"redis+sentinel://h/m/x": database "x" is not a number from 0 on`,
		"redis+cluster://h/1":          `"redis+cluster://h/1": a cluster has one database, leave out the path`,
		"redis+cluster://a,,b":         `"redis+cluster://a,,b": host "": address missing`,
		// No password may reach the log.
		"redis://secret@h":                            `"redis://***@h": password missing before the @, write it like :password@host`,
		"redis://:secret%@h":                          `"redis://***@h": a % in the name or the password must be written as %25`,
		"redis://u:secret@h:x":                        `"redis://***@h:x": host "h:x": port is not a number`,
		"redis+sentinel://h?sentinel_password=secret": `"redis+sentinel://h": name of the master missing after the hosts`,
		":secret@h":                                   `"***@h": not a URL like redis://127.0.0.1:6379/0`,
	} {
		_, err := Load([]string{"--redis=" + text}, func(string) (string, bool) { return "", false }, nil)
		if err == nil || err.Error() != "config: --redis: "+want {
			t.Errorf("%s:\ngot  %v\nwant config: --redis: %s", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") && !strings.Contains(want, "secret") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Passwords with letters that should have been percent-encoded.
func TestRedisPasswordsAreHidden(t *testing.T) {
	for text, want := range map[string]string{
		"redis://:sec?ret@host":                          `"redis://***"`,
		"redis://:sec/ret@host":                          `"redis://***@host"`,
		"redis://sec:1/ret@host":                         `"redis://***@host"`,
		"redis://:sec@ret@host:x":                        `"redis://***@host:x"`,
		"redis://:sec@ret/x@host":                        `"redis://***@host"`,
		"redis://:x?sec=ret&ret=1@host":                  `"redis://***"`,
		"redis+cluster://:sec/ret?@h1,h2":                `"redis+cluster://***"`,
		"redis+sentinel://:x@h?sentinel_password=sec@r":  `"redis+sentinel://***"`,
		"redis+sentinel://h/m?sentinel_password=sec&ret": `"redis+sentinel://h/m"`,
		":sec?ret@host":                                  `"***"`,
		":sec/ret@host":                                  `"***@host"`,
	} {
		_, err := Load([]string{"--redis=" + text}, func(string) (string, bool) { return "", false }, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "config: --redis: "+want+": ") {
			t.Errorf("%s:\ngot  %v\nwant config: --redis: %s", text, err, want)
			continue
		}
		told := strings.ReplaceAll(err.Error(), "sentinel_password", "")
		if strings.Contains(told, "sec") || strings.Contains(told, "ret") {
			t.Errorf("%s: %v", text, err)
		}
	}
	want := Redis{Mode: "sentinel", Addrs: []string{"h:26379"}, Master: "m", SentinelPassword: "a@b/c?"}
	if got, err := parseRedis("redis+sentinel://h/m?sentinel_password=a@b/c?"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// 127.0.0.1 in a Redis that relays of several hosts share.
func TestLoopbackBackendsInRedis(t *testing.T) {
	for args, want := range map[string]string{
		"--state redis --backend 127.0.0.2:1,a:1,LOCALHOST:2,[::1]:3": "--backend: with --state redis other relays share " +
			"127.0.0.2:1, localhost:2, [::1]:3, which is another process on each host",
		"--state redis --backend a:1,10.0.0.1:1,notlocalhost:1": "",
		"--state memory --backend 127.0.0.1:1":                  "",
	} {
		if got := strings.Join(mustLoad(t, source{args: args}).Warnings, "\n"); got != want {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
}

func TestRedisAlias(t *testing.T) {
	type env = map[string]string
	for _, c := range []struct {
		args string
		env  env
		want Redis
	}{
		{"", env{}, Redis{Mode: "single", Addrs: []string{"127.0.0.1:6379"}}},
		{"", env{"PROXY_REDIS_HOST": "redis"}, Redis{Mode: "single", Addrs: []string{"redis:6379"}}},
		{
			"",
			env{"PROXY_REDIS_HOST": "::1", "PROXY_REDIS_PORT": "6380", "PROXY_REDIS_PASSWORD": "a/b@c%?", "PROXY_REDIS_DB": "2"},
			Redis{Mode: "single", Addrs: []string{"[::1]:6380"}, Password: "a/b@c%?", DB: 2},
		},
		{"--redis redis://own", env{"PROXY_REDIS_PORT": "none"}, Redis{Mode: "single", Addrs: []string{"own:6379"}}},
	} {
		if got := mustLoad(t, source{args: c.args, env: c.env}).Redis; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: %+v", c.env, got)
		}
	}
	for _, c := range []struct {
		env  env
		want string
	}{
		{env{"PROXY_REDIS_PORT": "x", "PROXY_REDIS_PASSWORD": "secret"}, `config: PROXY_REDIS_PORT: "x": port is not a number`},
		{env{"PROXY_REDIS_DB": "x"}, `config: PROXY_REDIS_DB: "x": not a number`},
		{env{"PROXY_REDIS_HOST": "a b"}, `config: PROXY_REDIS_HOST: "a b": takes an address and a port only`},
	} {
		if _, err := (source{env: c.env}).load(); err == nil || err.Error() != c.want {
			t.Errorf("%v: %v, want %s", c.env, err, c.want)
		}
	}
}
