package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Redis holds the addresses and credentials of Redis.
type Redis struct {
	// Mode is single, sentinel or cluster.
	Mode string
	// Addrs are host:port: the node, the sentinels, or some cluster nodes.
	Addrs []string
	// Master is the sentinels' name of the master.
	Master             string
	DB                 int
	Username, Password string
	SentinelPassword   string
	TLS                bool
}

// redisForms is the help text for what parseRedis reads.
const redisForms = "redis://[:password@]host[:port][/db], redis+sentinel://host,host/master, redis+cluster://host,host"

// maxRedisDB is far above the 16 that a Redis has by default.
const maxRedisDB = 1 << 20

// parseRedis reads a URL of one of these forms. rediss instead of redis means TLS, names
// and passwords may be percent-encoded, and ?sentinel_password= is the password of the
// sentinels.
//
//	redis://[[user]:password@]host[:port][/db]
//	redis+sentinel://[[user]:password@]host[:port],host[:port]/master[/db]
//	redis+cluster://[[user]:password@]host[:port],host[:port]
func parseRedis(text string) (Redis, error) {
	r, err := readRedis(text)
	if at := strings.LastIndexByte(text, '@'); err != nil && at >= 0 && strings.ContainsAny(afterScheme(text[:at]), "/?") {
		// Not quoted: what looks like a host or a key may be part of a password.
		return r, errors.New("malformed; in a name or a password write @ as %40, / as %2F and ? as %3F")
	}
	return r, err
}

func readRedis(text string) (r Redis, err error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return r, errors.New("not a URL like redis://127.0.0.1:6379/0")
	}
	form, mode, many := strings.Cut(strings.ToLower(scheme), "+")
	if form != "redis" && form != "rediss" || many && mode != "sentinel" && mode != "cluster" {
		return r, fmt.Errorf("unknown scheme %q, expected redis, redis+sentinel or redis+cluster, or rediss for TLS", scheme)
	}
	r.TLS, r.Mode = form == "rediss", "single"
	if many {
		r.Mode = mode
	}
	rest, query, _ := strings.Cut(rest, "?")
	if err := r.setQuery(query); err != nil {
		return r, err
	}
	authority, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if err := r.setUser(authority[:at]); err != nil {
			return r, err
		}
		authority = authority[at+1:]
	}
	if err := r.setAddrs(authority); err != nil {
		return r, err
	}
	return r, r.setPath(path)
}

func (r *Redis) setQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("query is malformed")
	}
	for key := range values {
		if key != "sentinel_password" || r.Mode != "sentinel" {
			// Not quoted: it may be what follows an & in the password.
			return errors.New("query holds more than sentinel_password, which is for redis+sentinel only")
		}
	}
	r.SentinelPassword = values.Get("sentinel_password")
	return nil
}

func (r *Redis) setUser(text string) (err error) {
	user, password, ok := strings.Cut(text, ":")
	if !ok {
		return errors.New("password missing before the @, write it like :password@host")
	}
	if r.Username, err = url.PathUnescape(user); err == nil {
		r.Password, err = url.PathUnescape(password)
	}
	if err != nil {
		return errors.New("a % in the name or the password must be written as %25")
	}
	return nil
}

func (r *Redis) setAddrs(text string) error {
	port := "6379"
	if r.Mode == "sentinel" {
		port = "26379"
	}
	for host := range strings.SplitSeq(text, ",") {
		if host != "" && (!strings.Contains(host, ":") || strings.HasSuffix(host, "]")) {
			host = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
		addr, err := parseBackend(host)
		if err != nil {
			return fmt.Errorf("host %q: %w", host, err)
		}
		r.Addrs = append(r.Addrs, addr)
	}
	if r.Mode == "single" && len(r.Addrs) > 1 {
		return errors.New("several hosts need redis+sentinel:// or redis+cluster://")
	}
	return nil
}

func (r *Redis) setPath(path string) error {
	path = strings.TrimSuffix(path, "/")
	db := path
	if r.Mode == "sentinel" {
		if r.Master, db, _ = strings.Cut(path, "/"); r.Master == "" {
			return errors.New("name of the master missing after the hosts")
		}
	}
	if db == "" {
		return nil
	}
	if r.Mode == "cluster" {
		return errors.New("a cluster has one database, leave out the path")
	}
	n, err := strconv.Atoi(db)
	if err != nil || n < 0 || n > maxRedisDB {
		return fmt.Errorf("database %q is not a number from 0 on", db)
	}
	r.DB = n
	return nil
}

// afterScheme returns a URL without its scheme.
func afterScheme(text string) string {
	if _, rest, ok := strings.Cut(text, "://"); ok {
		return rest
	}
	return text
}

// hideRedis returns a URL without its passwords. With a ? before the last @ a password may
// be on either side of it.
func hideRedis(text string) string {
	rest := afterScheme(text)
	scheme := strings.TrimSuffix(text, rest)
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		if strings.Contains(rest[:at], "?") {
			return scheme + "***"
		}
		rest = "***" + rest[at:]
	}
	rest, _, _ = strings.Cut(rest, "?")
	return scheme + rest
}

// readRedisAlias reads the Redis of SRS's proxy from four variables with defaults. The
// password may have any character.
func readRedisAlias(env func(string) (string, bool), l layer) error {
	const hostName, portName, passwordName, dbName = "PROXY_REDIS_HOST", "PROXY_REDIS_PORT", "PROXY_REDIS_PASSWORD", "PROXY_REDIS_DB"
	origin := ""
	read := func(name, def string) string {
		text, _ := env(name)
		if text == "" {
			return def
		}
		if origin == "" {
			origin = name
		}
		return text
	}
	host, port := read(hostName, "127.0.0.1"), read(portName, "6379")
	password, db := read(passwordName, ""), read(dbName, "0")
	if origin == "" {
		return nil
	}
	if _, err := parsePort(port); err != nil {
		return bad(portName, port, err)
	}
	if !isDigits(db) {
		return bad(dbName, db, errors.New("not a number"))
	}
	at := net.JoinHostPort(strings.Trim(host, "[]"), port)
	if _, err := parseBackend(at); err != nil {
		return bad(hostName, host, err)
	}
	text := "redis://" + at + "/" + db
	if password != "" {
		text = "redis://:" + url.PathEscape(password) + "@" + at + "/" + db
	}
	l["redis"] = value{texts: []string{text}, origin: origin}
	return nil
}
