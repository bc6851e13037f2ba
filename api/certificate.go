package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
)

const (
	// CertificateInterval is how often the files of a certificate are read. A change
	// counts when two reads in a row find it, so that a pair of which only one file is
	// written yet is not tried.
	CertificateInterval = 5 * time.Second
	// maxPEM is far above a chain of certificates; it stops a mistyped path.
	maxPEM = 1 << 20
)

// Certificate is the API's certificate with its key. It follows its files, as they are
// renewed. After OpenCertificate it belongs to the goroutine that runs Watch.
type Certificate struct {
	certFile, keyFile string
	inForce           atomic.Pointer[tls.Certificate]
	tried, found      pair
}

// pair is the content of both files, or why they could not be read.
type pair struct {
	cert, key []byte
	err       error
}

func (p pair) equal(o pair) bool {
	return bytes.Equal(p.cert, o.cert) && bytes.Equal(p.key, o.key) && fmt.Sprint(p.err) == fmt.Sprint(o.err)
}

// OpenCertificate reads both files. The error is one line that names the file.
func OpenCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	c.tried = c.readFiles()
	c.found = c.tried
	if err := c.use(c.tried); err != nil {
		return nil, err
	}
	return c, nil
}

// NotAfter returns when the certificate in force ends.
func (c *Certificate) NotAfter() time.Time { return c.inForce.Load().Leaf.NotAfter }

// Watch reads the files at each tick until ctx ends. When they have changed, it calls
// report, with an error if the old certificate stays in force.
func (c *Certificate) Watch(ctx context.Context, ticks <-chan time.Time, report func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
			c.tick(report)
		}
	}
}

func (c *Certificate) tick(report func(error)) {
	now := c.readFiles()
	steady := now.equal(c.found)
	c.found = now
	if !steady || now.equal(c.tried) {
		return
	}
	c.tried = now
	report(c.use(now))
}

// use puts a pair in force. A certificate that has ended replaces none that has not.
func (c *Certificate) use(p pair) error {
	if p.err != nil {
		return p.err
	}
	got, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		return fmt.Errorf("certificate: %s with %s: %w", c.certFile, c.keyFile, err)
	}
	if now := time.Now(); c.inForce.Load() != nil && now.After(got.Leaf.NotAfter) && now.Before(c.NotAfter()) {
		return fmt.Errorf("certificate: %s: has ended at %s", c.certFile, got.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	c.inForce.Store(&got)
	return nil
}

func (c *Certificate) readFiles() (p pair) {
	if p.cert, p.err = readPEM(c.certFile); p.err == nil {
		p.key, p.err = readPEM(c.keyFile)
	}
	return p
}

func readPEM(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err == nil {
		defer file.Close()
		var text []byte
		if text, err = io.ReadAll(io.LimitReader(file, maxPEM)); err == nil {
			return text, nil
		}
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // the message names the file already
	}
	return nil, fmt.Errorf("certificate: %s: %w", name, err)
}

// config returns the TLS settings of the server. HTTP/1.1 only, because the bounds of the
// API are bounds of connections, and one connection of HTTP/2 carries many requests.
func (c *Certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.inForce.Load(), nil },
	}
}
