package handshake

import "strconv"

// Code is a rejection as in the Handshake Type field: 1000 plus the API's reject
// code (libsrt srt.h SRT_REJECT_REASON, access_control.h).
type Code uint32

// The codes that the relay sends by itself. It avoids code 1000, which libsrt
// 1.5.1 reports as ROGUE.
const (
	CodeNone       Code = 0
	CodeRogue      Code = 1004 // malformed handshake or extensions
	CodeBacklog    Code = 1005 // a listener's accept queue is full; transient
	CodeVersion    Code = 1008 // handshake version neither 4 nor 5
	CodeBadRequest Code = 2400 // malformed stream ID
	CodeOverload   Code = 2402 // a limit of the relay is reached
	CodeForbidden  Code = 2403
	CodeNotFound   Code = 2404
	CodeBadGateway Code = 2502 // the backend's reply was invalid
	CodeDown       Code = 2503 // no backend is available, or none answered
)

var codeNames = map[Code]string{
	CodeRogue:      "rogue",
	CodeBacklog:    "backlog",
	CodeVersion:    "version",
	CodeBadRequest: "bad request",
	CodeOverload:   "overload",
	CodeForbidden:  "forbidden",
	CodeNotFound:   "not found",
	CodeBadGateway: "bad gateway",
	CodeDown:       "down",
	1010:           "bad secret",
	1011:           "unsecure",
	1012:           "message API",
	1013:           "congestion",
	1014:           "filter",
	1015:           "group",
	1017:           "crypto",
}

// String returns the code with its name, as in "2503 down".
func (c Code) String() string {
	n := strconv.FormatUint(uint64(c), 10)
	if name := codeNames[c]; name != "" {
		return n + " " + name
	}
	return n
}

// AllowsFailover reports whether a backend's rejection is about the state of the
// backend, so that another may accept the same caller. Any other code is, or may
// be, about the caller, which gets it at once. After CodeBacklog the same backend
// is asked again.
//
//	1001 system, 1003 resource, 1006 internal error, 1007 closing
//	2402 overload, 2500 internal server error, 2502 bad gateway,
//	2503 down, 2504 gateway timeout, 2507 no room
//
// Not among them are 1002 and 2000, by which the applications of gosrt and libsrt
// refuse a caller, and the codes that applications define (2600 and above, 3000
// and above).
func (c Code) AllowsFailover() bool {
	switch c {
	case 1001, 1003, 1006, 1007, CodeOverload, 2500, CodeBadGateway, CodeDown, 2504, 2507:
		return true
	}
	return false
}
