package handshake

import "strconv"

// Code is a rejection as it stands in the Handshake Type field: 1000 plus the
// API's reject code (libsrt srt.h SRT_REJECT_REASON, access_control.h).
type Code uint32

// The codes the relay gives of its own. Code 1000 is avoided: libsrt 1.5.1
// reports it as ROGUE.
const (
	NoRejection Code = 0
	Rogue       Code = 1004 // malformed handshake or extensions
	Backlog     Code = 1005 // a listener's accept queue is full; transient
	Version     Code = 1008 // handshake version neither 4 nor 5
	BadRequest  Code = 2400 // malformed stream ID
	Overload    Code = 2402 // a cap of the relay's is reached
	Forbidden   Code = 2403
	NotFound    Code = 2404
	BadGateway  Code = 2502 // the backend answered nonsense
	Down        Code = 2503 // no backend, or none that answered
)

var codeNames = map[Code]string{
	Rogue:      "rogue",
	Backlog:    "backlog",
	Version:    "version",
	BadRequest: "bad request",
	Overload:   "overload",
	Forbidden:  "forbidden",
	NotFound:   "not found",
	BadGateway: "bad gateway",
	Down:       "down",
	1010:       "bad secret",
	1011:       "unsecure",
	1012:       "message API",
	1013:       "congestion",
	1014:       "filter",
	1015:       "group",
	1017:       "crypto",
}

// String returns the code with its name, as in "2503 down".
func (c Code) String() string {
	n := strconv.FormatUint(uint64(c), 10)
	if name := codeNames[c]; name != "" {
		return n + " " + name
	}
	return n
}

// OfBackend reports whether a backend's rejection speaks of its own state, so
// that another may well accept the same caller. All other codes mean the
// caller, or may: they are its to know at once. Backlog is asked again first.
//
//	1001 system, 1003 resource, 1006 internal error, 1007 closing
//	2402 overload, 2500 internal server error, 2502 bad gateway,
//	2503 down, 2504 gateway timeout, 2507 no room
//
// Not 1002, which is gosrt's word for a caller that its application refuses,
// nor 2000, libsrt's for one that the listen callback does, nor those that
// applications define (2600 and above, 3000 and above).
func (c Code) OfBackend() bool {
	switch c {
	case 1001, 1003, 1006, 1007, Overload, 2500, BadGateway, Down, 2504, 2507:
		return true
	}
	return false
}
