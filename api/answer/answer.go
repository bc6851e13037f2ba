// Package answer declares the HTTP API's JSON as Go types, for the relay, which
// writes it, and for the commands of the same binary, which read it. The closed
// lists of the API (event kinds, roles, sort orders) stand here and nowhere
// else. api/openapi.yaml describes the same JSON for other clients; a test in
// package api compares the two.
//
// The package has no behaviour except the escaping of text, and must not know
// where a number comes from. Rates are in bit/s or datagrams/s over the last
// second, times in milliseconds, shares in percent. An unknown number is absent,
// never 0. What counts has a TakenAt by the clock of the relay's process, which
// begins with the host's time and then only runs: the rate of a counter is the
// difference of two answers over that of their TakenAt.
package answer

// Reply is the frame of every answer. An error has a non-zero code, which is
// the HTTP status, and one line that says what is wrong.
type Reply[T any] struct {
	Code  int    `json:"code"`
	PID   string `json:"pid,omitempty"`
	Error string `json:"error,omitempty"`
	Data  T      `json:"data,omitempty"`
}

// BackendRef names a backend.
type BackendRef struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}
