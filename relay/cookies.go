package relay

import (
	"sync"

	"srtrelay/balancer/redis"
	"srtrelay/config"
	"srtrelay/handshake"
)

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

// readSecrets reads the file of a configuration, nil if it has none.
func readSecrets(c config.Config) ([]handshake.Secret, error) {
	if c.CookieSecretFile == "" {
		return nil, nil
	}
	return handshake.ReadSecrets(c.CookieSecretFile)
}
