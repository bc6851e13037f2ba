package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"srtrelay/internal/testcert"
)

// certified is a certificate in files, and who watches it.
type certified struct {
	*testing.T
	*Certificate
	cert, key string
	ticks     chan time.Time
	reported  chan error
}

func startCertified(t *testing.T) *certified {
	dir := t.TempDir()
	c := &certified{T: t, cert: filepath.Join(dir, "api.crt"), key: filepath.Join(dir, "api.key"), ticks: make(chan time.Time), reported: make(chan error, 1)}
	cert, key := testcert.Pair(t, "first.example", time.Now().Add(time.Hour))
	c.write(cert, key)
	var err error
	if c.Certificate, err = OpenCertificate(c.cert, c.key); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Watch(ctx, c.ticks, func(err error) { c.reported <- err })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return c
}

func (c *certified) write(cert, key []byte) {
	testcert.Write(c, c.cert, cert)
	testcert.Write(c, c.key, key)
}

// settle lets the files be read until nothing can change any more, and returns what was
// reported, "" for nothing.
func (c *certified) settle() string {
	for range 3 {
		c.ticks <- time.Time{}
	}
	select {
	case err := <-c.reported:
		if err != nil {
			return err.Error()
		}
		return "in force"
	default:
		return ""
	}
}

func (c *certified) name() string { return c.inForce.Load().Leaf.Subject.CommonName }

// A renewed pair is in force, a bad one is reported once, in one line, and leaves the old
// one in force.
func TestCertificateFollowsItsFiles(t *testing.T) {
	c := startCertified(t)
	if got := c.settle(); got != "" || c.name() != "first.example" {
		t.Fatalf("unchanged: %q, %s", got, c.name())
	}
	later := time.Now().Add(time.Hour)
	second, secondKey := testcert.Pair(t, "second.example", later)
	_, otherKey := testcert.Pair(t, "other.example", later)
	ended, endedKey := testcert.Pair(t, "ended.example", time.Now().Add(-time.Hour))
	for _, step := range []struct {
		cert, key []byte
		want      string // part of the line
	}{
		{second, otherKey, c.cert + " with " + c.key + ": tls: private key does not match public key"},
		{second[:50], secondKey, c.cert + " with " + c.key + ": tls: failed to find any PEM data in certificate input"},
		{nil, nil, "tls: failed to find any PEM data"},
		{ended, endedKey, c.cert + ": has ended at "},
	} {
		c.write(step.cert, step.key)
		got := c.settle()
		if !strings.HasPrefix(got, "certificate: ") || !strings.Contains(got, step.want) || strings.Contains(got, "\n") || c.name() != "first.example" {
			t.Errorf("%q, want %q; in force is %s", got, step.want, c.name())
		}
		if got := c.settle(); got != "" {
			t.Errorf("reported again: %s", got)
		}
	}
	c.write(second, secondKey)
	if got := c.settle(); got != "in force" || c.name() != "second.example" {
		t.Errorf("%q, in force is %s", got, c.name())
	}
}

// Of a pair that is being renewed only one file is new: it is not tried.
func TestHalfRenewedCertificateIsNotTried(t *testing.T) {
	c := startCertified(t)
	cert, key := testcert.Pair(t, "second.example", time.Now().Add(time.Hour))
	testcert.Write(t, c.cert, cert)
	c.ticks <- time.Time{}
	testcert.Write(t, c.key, key)
	if got := c.settle(); got != "in force" || c.name() != "second.example" {
		t.Errorf("%q, in force is %s", got, c.name())
	}
}

func TestCertificateCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none")
	cert, key := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	pem, secret := testcert.Pair(t, "a.example", time.Now().Add(-time.Hour))
	testcert.Write(t, cert, pem)
	testcert.Write(t, key, secret)
	for _, c := range []struct{ cert, key, want string }{
		{none, key, "certificate: " + none + ": no such file or directory"},
		{cert, none, "certificate: " + none + ": no such file or directory"},
		{cert, dir, "certificate: " + dir + ": is a directory"},
		{cert, cert, "certificate: " + cert + " with " + cert + ": tls: found a certificate rather than a key in the PEM for the private key"},
	} {
		if got, err := OpenCertificate(c.cert, c.key); got != nil || err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	// That it has ended is no reason not to relay.
	if got, err := OpenCertificate(cert, key); err != nil || !got.NotAfter().Before(time.Now()) {
		t.Errorf("ended: %v", err)
	}
}

// The server speaks TLS with the certificate in force, and nothing else: HTTP is refused
// with a hint, and the bounds of connections hold.
func TestServeTLS(t *testing.T) {
	c := startCertified(t)
	d := everything(t, func(r *Deps) {
		r.Certificate, r.Connections = c.Certificate, NewConnections(4)
	})
	s := New("v1", d.deps, d.logger())
	startServing(t, s)
	get := func(path string, header ...string) *http.Response {
		t.Helper()
		roots := x509.NewCertPool()
		roots.AddCert(c.inForce.Load().Leaf)
		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
		defer client.CloseIdleConnections()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+s.Addr().String()+path, nil)
		if len(header) == 0 {
			r.Method = http.MethodGet
		} else {
			r.Header.Set(header[0], header[1])
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		return answer
	}
	if a := get("/live"); a.StatusCode != 200 || a.ProtoMajor != 1 || a.TLS.Version < tls.VersionTLS12 || a.TLS.PeerCertificates[0].Subject.CommonName != "first.example" {
		t.Errorf("%s %+v", a.Status, a.TLS)
	}
	if cookies := get(loginPath, "Authorization", "Bearer secret-token").Cookies(); len(cookies) != 1 || !cookies[0].Secure {
		t.Errorf("cookies %v", cookies)
	}
	c.write(testcert.Pair(t, "second.example", time.Now().Add(time.Hour)))
	if got := c.settle(); got != "in force" {
		t.Fatal(got)
	}
	if a := get("/live"); a.TLS.PeerCertificates[0].Subject.CommonName != "second.example" {
		t.Errorf("the old certificate is served: %+v", a.TLS.PeerCertificates[0].Subject)
	}
	answer, err := http.Get("http://" + s.Addr().String() + "/live")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if answer.StatusCode != 400 || !strings.HasPrefix(string(text), "Client sent an HTTP request to an HTTPS server") {
		t.Errorf("HTTP: %s %s", answer.Status, text)
	}
	http.DefaultClient.CloseIdleConnections()
	// Whoever does not even begin its handshake keeps nobody out.
	for range 20 {
		silent, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
	}
	if a := get("/live"); a.StatusCode != 200 {
		t.Error(a.Status)
	}
	if n := s.connections.Counts(); n.Open > 4 || n.Replaced < 10 {
		t.Errorf("%+v", n)
	}
	// net/http has a line for each; the log does not.
	if n := strings.Count(d.log.String(), "API connection"); n != 1 {
		t.Errorf("%d lines: %s", n, &d.log)
	}
}
