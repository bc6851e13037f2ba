package api

import (
	"crypto/hmac"
	"fmt"
	"strings"

	"srtrelay/internal/message"
)

// loginsVersion is the version of what Logins.AppendSnapshot writes.
const loginsVersion = 1

// Fields of the snapshot of Logins.
const (
	loginsKey    message.Number = 2
	loginsTokens message.Number = 3 // the MAC of the tokens under the key
)

// AppendSnapshot appends what another process needs so that logins go on there.
func (l *Logins) AppendSnapshot(b []byte) []byte {
	l.mu.RLock()
	defer l.mu.RUnlock()
	b = message.AppendVersion(b, loginsVersion)
	b = message.AppendBytes(b, loginsKey, l.key[:])
	return message.AppendBytes(b, loginsTokens, l.macOfTokens(l.key))
}

// macOfTokens returns the MAC of the tokens under a key. Called with mu held.
func (l *Logins) macOfTokens(k loginKey) []byte {
	return k.mac([]byte("tokens\n" + strings.Join(l.tokens[:], "\n")))
}

// Restore goes on with the logins of another process, if that has the same tokens. After an
// error nothing has changed.
func (l *Logins) Restore(b []byte) error {
	var key loginKey
	var tokens []byte
	r, err := message.ReadVersion(b, loginsVersion, loginsVersion)
	for err == nil && r.Next() {
		switch r.Number() {
		case loginsKey:
			if text := r.Bytes(); copy(key[:], text) != len(key) || len(text) != len(key) {
				r.Refuse("no key")
			}
		case loginsTokens:
			tokens = r.Bytes()
		}
	}
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return fmt.Errorf("snapshot of the logins: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if hmac.Equal(tokens, l.macOfTokens(key)) {
		l.key = key
	}
	return nil
}
