//go:build linux

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"srtrelay/internal/clocale"
	"srtrelay/internal/testcert"
)

// The API speaks TLS, to who has a token, with the certificate that its files hold: a bad
// renewal leaves the old one in force, and says so in one line.
func TestAPISpeaksTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key, ca := filepath.Join(dir, "api.crt"), filepath.Join(dir, "api.key"), filepath.Join(dir, "ca.crt")
	pem, secret := testcert.Pair(t, "relay.example", time.Now().Add(time.Hour))
	testcert.Write(t, cert, pem)
	testcert.Write(t, key, secret)
	testcert.Write(t, ca, pem)
	r := startRelay(t, "--api-tls-cert", cert, "--api-tls-key", key, "--register-token", "correct-horse", "--read-token", "battery-staple")
	r.strict = false // its counters are asked for over plain HTTP
	at := strings.Replace(r.api, "http://", "https://", 1)
	ask := func(args ...string) string {
		t.Helper()
		out, _ := clocale.Command(binary, append([]string{"shards", "--json"}, args...)...).CombinedOutput()
		return string(out)
	}
	if got := ask("--api", at, "--ca", ca, "--read-token", "battery-staple"); !strings.Contains(got, `"shards"`) {
		t.Errorf("not answered: %s", got)
	}
	for want, args := range map[string][]string{
		"token: missing":               {"--api", at, "--ca", ca},
		"failed to verify certificate": {"--api", at, "--read-token", "battery-staple"},
		"speaks TLS: give --api https": {"--api", r.api, "--read-token", "battery-staple"},
	} {
		if got := ask(args...); !strings.Contains(got, want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%v: %s, want %s", args, got, want)
		}
	}
	if got := metricsOver(t, at, pem, "battery-staple"); !strings.Contains(got, "\nsrtrelay_api_certificate_expiration_timestamp_seconds 1.") {
		t.Errorf("no metric of the certificate's end: %.300s", got)
	}
	_, other := testcert.Pair(t, "relay.example", time.Now().Add(time.Hour))
	testcert.Write(t, key, other)
	line := r.awaitLog("certificate not reloaded, the old one stays in force", func(logLine) bool { return true })
	if why := line.text("error"); !strings.Contains(why, cert) {
		t.Errorf("reason %q", why)
	}
	if got := ask("--api", at, "--ca", ca, "--read-token", "battery-staple"); !strings.Contains(got, `"shards"`) {
		t.Errorf("the old certificate is not in force: %s", got)
	}
	pem, secret = testcert.Pair(t, "relay.example", time.Now().Add(time.Hour))
	testcert.Write(t, cert, pem)
	testcert.Write(t, key, secret)
	testcert.Write(t, ca, pem)
	r.awaitLog("certificate in force", func(logLine) bool { return true })
	if got := ask("--api", at, "--ca", ca, "--register-token", "correct-horse"); !strings.Contains(got, `"shards"`) {
		t.Errorf("the new certificate is not in force: %s", got)
	}
}

// metricsOver scrapes a relay as Prometheus does that trusts a certificate and has a token.
func metricsOver(t *testing.T, at string, trusted []byte, token string) string {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	client := http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at+"/metrics", nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := client.Do(r)
	must(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(t, err)
	return string(text)
}
