package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	loginPath = "/api/v1/login"
	// loginTime is how long a login lasts. A page that is looked at renews it, so that
	// a screen on a wall stays logged in.
	loginTime = 12 * time.Hour
	// cookiePrefix stands before the API's port: cookies of all ports of a host are in
	// one jar, and a host may have several relays.
	cookiePrefix = "srtrelay-"
)

// Logins makes and checks the cookies of the page's logins. A cookie says what its holder
// may do and until when, under a key that nobody else has: nothing is kept per login, a
// cookie does not tell the token, and all end with the key. Any goroutine may use it.
type Logins struct {
	mu     sync.RWMutex
	key    loginKey
	tokens [2]string // for which the key was made
}

type loginKey [sha256.Size]byte

// NewLogins returns Logins for no tokens.
func NewLogins() *Logins {
	l := new(Logins)
	_, _ = rand.Read(l.key[:]) // never fails
	return l
}

// setTokens makes a new key, which ends all logins, if the tokens are others.
func (l *Logins) setTokens(full, read string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if tokens := [2]string{full, read}; tokens != l.tokens {
		l.tokens = tokens
		_, _ = rand.Read(l.key[:]) // never fails
	}
}

// present returns the key. Who checks a token for a login gets the key first: a login that is
// made while the tokens are replaced is one of the old key, or its token was checked against
// the new ones.
func (l *Logins) present() loginKey {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.key
}

// loginSize is the size of a login: access, the second of its end, and the MAC of both.
const loginSize = 1 + 8 + sha256.Size

// issue returns the value of a cookie.
func (k loginKey) issue(a access, until time.Time) string {
	login := make([]byte, 0, loginSize)
	login = append(login, byte(a))
	login = binary.BigEndian.AppendUint64(login, uint64(until.Unix()))
	return base64.RawURLEncoding.EncodeToString(append(login, k.mac(login)...))
}

func (k loginKey) mac(text []byte) []byte {
	m := hmac.New(sha256.New, k[:])
	m.Write(text)
	return m.Sum(nil)
}

// find returns what a request's login allows, and how long it lasts.
func (k loginKey) find(r *http.Request, now time.Time) (a access, left time.Duration) {
	for _, cookie := range r.CookiesNamed(cookieName(r)) {
		login, err := base64.RawURLEncoding.DecodeString(cookie.Value)
		if err != nil || len(login) != loginSize || !hmac.Equal(login[9:], k.mac(login[:9])) {
			continue
		}
		until := time.Unix(int64(binary.BigEndian.Uint64(login[1:9])), 0)
		if left = until.Sub(now); left > 0 {
			return access(login[0]), left
		}
	}
	return accessNone, 0
}

// cookieName returns the name of the cookie for the port that a request came to.
func cookieName(r *http.Request) string {
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return cookiePrefix + strconv.Itoa(at.Port)
	}
	return cookiePrefix + "0" // not over TCP
}

// setLogin sends the cookie of a login under a key, and deletes it for accessNone. No script can read
// it, and pages of other sites cannot make a browser send it.
func (h *handler) setLogin(w http.ResponseWriter, r *http.Request, k loginKey, a access) {
	c := &http.Cookie{Name: cookieName(r), Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode, MaxAge: -1}
	if a != accessNone {
		c.Value, c.MaxAge = k.issue(a, time.Now().Add(loginTime)), int(loginTime/time.Second)
	}
	http.SetCookie(w, c)
}

// renewLogin prolongs a login that has lasted for half of its time.
func (h *handler) renewLogin(w http.ResponseWriter, r *http.Request) {
	key := h.deps.Logins.present()
	if a, left := key.find(r, time.Now()); a != accessNone && left < loginTime/2 {
		h.setLogin(w, r, key, a)
	}
}

// login exchanges a token for a cookie.
func (h *handler) login(w http.ResponseWriter, r *http.Request) {
	if h.crossOrigin.Check(r) != nil {
		h.refuseElsewhere(w, r)
		return
	}
	a, key := accessFull, h.deps.Logins.present()
	if h.settings.Load().Token != "" {
		given, why := tokenOf(r)
		if a = h.accessByToken(given); a == accessNone {
			switch {
			case why != "":
			case given == "":
				why = "token: missing"
			default:
				why = "token: wrong"
			}
			h.unauthorized(w, r, why)
			return
		}
		h.setLogin(w, r, key, a)
	}
	writeReply(w, http.StatusOK, reply{Data: map[string]string{"access": a.String()}})
}

// logout deletes the cookie.
func (h *handler) logout(w http.ResponseWriter, r *http.Request) {
	if h.crossOrigin.Check(r) != nil {
		h.refuseElsewhere(w, r)
		return
	}
	h.setLogin(w, r, loginKey{}, accessNone)
	writeReply(w, http.StatusOK, reply{})
}

// page answers with the web page, which has no figures of its own. A link may hold the
// token, as /?token=...; it becomes a cookie, and the browser goes on to the page without
// it, so that no history, screenshot or copied address has the token.
func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" || !r.URL.Query().Has("token") {
		h.deps.Page.ServeHTTP(w, r)
		return
	}
	key := h.deps.Logins.present()
	if a := h.accessByToken(r.URL.Query().Get("token")); a != accessNone {
		h.setLogin(w, r, key, a)
	} else if h.settings.Load().Token != "" {
		h.refusals.note(time.Now(), r, "token: wrong") // the page asks for another
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Location", "./") // relative: a proxy may give the API another path
	w.WriteHeader(http.StatusSeeOther)
}
