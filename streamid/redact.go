package streamid

import (
	"net/url"
	"slices"
	"strings"
)

// redacted replaces a secret.
const redacted = "***"

// Redact returns a stream ID, or its parameters, for logs and the API: it replaces
// credentials and keeps the rest. In doubt it replaces too much.
func Redact(s string) string {
	if !hasAction(s) {
		return redact(s)
	}
	// MediaMTX's form: publish:path:user:password:query.
	parts := strings.Split(s, ":")
	parts[1] = redact(parts[1])
	switch n := len(parts); {
	case n == 3:
		parts[2] = RedactQuery(parts[2])
	case n > mediaMTXParts: // the password has a colon, or the query
		parts = append(parts[:3], redacted)
		parts[2] = redact(parts[2])
	case n > 3:
		parts[2], parts[3] = redact(parts[2]), redacted
		if n == mediaMTXParts {
			parts[4] = RedactQuery(parts[4])
		}
	}
	return strings.Join(parts, ":")
}

// RedactQuery is Redact for the part after the path in MediaMTX's form. A text that
// is not a list of parameters is a token.
func RedactQuery(s string) string {
	if s != "" && !strings.Contains(s, "=") {
		return redacted
	}
	return redact(s)
}

// redact replaces the values of secret parameters. A value may contain parameters in
// turn, as in r=live/a?secret=b, and a secret may contain =, which pads base64.
func redact(s string) string {
	var b strings.Builder
	for {
		name, rest, ok := strings.Cut(s, "=")
		b.WriteString(name)
		if !ok {
			return b.String()
		}
		b.WriteByte('=')
		name = strings.TrimSpace(name)
		if s = rest; !isSecret(name[strings.LastIndexAny(name, ",&;?:/ {")+1:]) {
			continue
		}
		end := strings.IndexAny(s, ",&;")
		if end < 0 {
			end = len(s)
		}
		if end > 0 {
			b.WriteString(redacted)
		}
		s = s[end:]
	}
}

// secretParts occur in the names of secret parameters: secret, txSecret,
// access_token, auth_key, streamkey, passphrase, X-Amz-Signature...
var secretParts = []string{"secret", "token", "pass", "pwd", "auth", "key", "sign", "credential", "jwt", "hmac"}

// isSecret reports whether a parameter is secret by its name. Besides secretParts
// these are sig, a signature, and s, the session ID of SRT's access control.
func isSecret(name string) bool {
	// SRS and its hooks may read %74oken as token.
	if plain, err := url.QueryUnescape(name); err == nil {
		name = plain
	}
	name = strings.ToLower(name)
	return name == "s" || name == "sig" ||
		slices.ContainsFunc(secretParts, func(part string) bool { return strings.Contains(name, part) })
}
