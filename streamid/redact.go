package streamid

import (
	"net/url"
	"slices"
	"strings"
)

// hidden stands for a secret.
const hidden = "***"

// Redact is a stream ID, or its parameters, for the eyes of whoever may look at
// a log or the API: what callers prove themselves with is hidden, the rest is
// as it was. Rather too much is hidden than too little.
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
		parts = append(parts[:3], hidden)
		parts[2] = redact(parts[2])
	case n > 3:
		parts[2], parts[3] = redact(parts[2]), hidden
		if n == mediaMTXParts {
			parts[4] = RedactQuery(parts[4])
		}
	}
	return strings.Join(parts, ":")
}

// RedactQuery is Redact for what stands behind the path in MediaMTX's form. What
// is no list of parameters is a token.
func RedactQuery(s string) string {
	if s != "" && !strings.Contains(s, "=") {
		return hidden
	}
	return redact(s)
}

// shown hides the values of parameters. A value may hold parameters in turn,
// as in r=live/a?secret=b, and a secret what ends names: = pads base64.
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
		if s = rest; !secret(name[strings.LastIndexAny(name, ",&;?:/ {")+1:]) {
			continue
		}
		end := strings.IndexAny(s, ",&;")
		if end < 0 {
			end = len(s)
		}
		if end > 0 {
			b.WriteString(hidden)
		}
		s = s[end:]
	}
}

// secretParts are in names of what is secret, whoever invented them: secret,
// txSecret, access_token, auth_key, streamkey, passphrase, X-Amz-Signature...
var secretParts = []string{"secret", "token", "pass", "pwd", "auth", "key", "sign", "credential", "jwt", "hmac"}

// secret tells by its name whether a parameter is one. Besides those of
// secretParts: sig, a short signature, and s, the session ID by which the
// access control of SRT has a caller verified.
func secret(name string) bool {
	// SRS and its hooks may read %74oken as token.
	if plain, err := url.QueryUnescape(name); err == nil {
		name = plain
	}
	name = strings.ToLower(name)
	return name == "s" || name == "sig" ||
		slices.ContainsFunc(secretParts, func(part string) bool { return strings.Contains(name, part) })
}
