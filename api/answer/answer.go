// Package answer is the HTTP API's JSON, as Go values: what the relay writes
// and what its own terminal commands read. openapi.yaml beside the api package
// says the same to everyone else, and a test holds the two together.
//
// It holds no behaviour but how text is escaped, and must not know where a number comes from. Rates are
// in bit/s or datagrams/s over the last second, times in milliseconds, shares
// in percent; a number that is not known is missing, never 0.
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
