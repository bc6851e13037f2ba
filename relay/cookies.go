package relay

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"srtrelay/balancer/redis"
	"srtrelay/config"
	"srtrelay/handshake"
)

// maxSecretFile is far above the longest file of secrets; it stops a mistyped path.
const maxSecretFile = 64 << 10

// cookieSecrets chooses the secrets that this relay shares with others: those of the file,
// or else that of Redis. Without any, the shards have one of their own.
type cookieSecrets struct {
	live *handshake.SharedSecrets // where they are published

	mu          sync.Mutex
	file, redis []handshake.Secret
}

// openCookieSecrets reads the file, if the configuration has one.
func openCookieSecrets(c config.Config) (*cookieSecrets, error) {
	file, err := readSecrets(c)
	if err != nil {
		return nil, err
	}
	s := &cookieSecrets{live: new(handshake.SharedSecrets)}
	s.setFile(file)
	return s, nil
}

// setFile replaces the secrets of the file, nil for none.
func (s *cookieSecrets) setFile(all []handshake.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file = all
	s.publish()
}

// setRedis replaces those of Redis.
func (s *cookieSecrets) setRedis(all []redis.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redis = nil
	for _, one := range all {
		s.redis = append(s.redis, handshake.Secret(one))
	}
	s.publish()
}

func (s *cookieSecrets) publish() {
	if len(s.file) > 0 {
		s.live.Publish(s.file) // alone: who can read Redis is to know none of them
		return
	}
	s.live.Publish(s.redis)
}

// readSecrets reads the file of a configuration, nil if it has none. Errors quote nothing of
// what it has.
func readSecrets(c config.Config) ([]handshake.Secret, error) {
	name := c.CookieSecretFile
	if name == "" {
		return nil, nil
	}
	text, err := readSecretFile(name)
	if err == nil {
		var all []handshake.Secret
		if all, err = handshake.ParseSecrets(text); err == nil {
			return all, nil
		}
	}
	return nil, fmt.Errorf("--cookie-secret-file %s: %w", name, err)
}

// readSecretFile reads a file that nobody but its owner and group can read, and nobody but
// its owner can write.
func readSecretFile(name string) (string, error) {
	if err := regular(name); err != nil {
		return "", err
	}
	file, err := os.Open(name)
	if err != nil {
		return "", causeOf(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", causeOf(err)
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return "", fmt.Errorf("its mode is %04o, so that others can read or change it: chmod 0600, or 0440", mode)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	switch {
	case err != nil:
		return "", causeOf(err)
	case len(text) > maxSecretFile:
		return "", fmt.Errorf("longer than %d bytes", maxSecretFile)
	}
	return string(text), nil
}

// causeOf returns an error of a file without its name, which the caller says.
func causeOf(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
