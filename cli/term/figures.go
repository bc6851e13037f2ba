package term

import (
	"math"
	"math/big"
	"strconv"
	"time"
)

// unknown stands for a number that is not known.
const unknown = "–"

var (
	bitUnits   = []string{"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"}
	byteUnits  = []string{"B", "kB", "MB", "GB", "TB", "PB"}
	countUnits = []string{"", "k", "M", "G"}
)

// figures formats numbers: with three figures and a unit or, if exact, unrounded in the base
// unit. The web page rounds by the same rule (api/web/ui/numbers.js).
type figures struct{ exact bool }

func (f figures) bitrate(v float64) string {
	if f.exact {
		return group(fixed(v, 0)) + " bit/s"
	}
	return scaled(v, bitUnits, " ")
}

func (f figures) bytes(v uint64) string {
	if f.exact {
		return f.count(v) + " B"
	}
	return scaled(float64(v), byteUnits, " ")
}

// rate formats a number per second; the column's title has the unit.
func (f figures) rate(v float64) string {
	if f.exact {
		return group(fixed(v, 0))
	}
	return scaled(v, countUnits, "")
}

// count is always exact, so that it can be compared with other tools.
func (figures) count(v uint64) string { return group(strconv.FormatUint(v, 10)) }

func (f figures) millis(v *float64) string {
	switch {
	case v == nil:
		return unknown
	case f.exact:
		return strconv.FormatFloat(*v, 'f', -1, 64) + " ms"
	}
	return three(*v) + " ms"
}

func (f figures) percent(v *float64) string {
	switch {
	case v == nil:
		return unknown
	case f.exact:
		return strconv.FormatFloat(*v, 'f', -1, 64) + " %"
	case *v == 0:
		return "0 %"
	case *v > 0 && *v < 0.005:
		return "<0.01 %"
	}
	return three(*v) + " %"
}

// seconds formats a duration.
func (f figures) seconds(v float64) string {
	if f.exact {
		return strconv.FormatFloat(v, 'f', -1, 64) + " s"
	}
	if v < 1 {
		return fixed(v*1000, 0) + " ms"
	}
	n := int64(v)
	two := func(a int64, unit string, b int64, part string) string {
		return strconv.FormatInt(a, 10) + " " + unit + " " + strconv.FormatInt(b, 10) + " " + part
	}
	switch {
	case n < 60:
		return strconv.FormatInt(n, 10) + " s"
	case n < 3600:
		return two(n/60, "min", n%60, "s")
	case n < 86400:
		return two(n/3600, "h", n%3600/60, "min")
	}
	return two(n/86400, "d", n%86400/3600, "h")
}

// since formats the time since at, unknown for no time.
func (figures) since(at, now time.Time) string {
	if at.IsZero() {
		return unknown
	}
	if past := now.Sub(at); past >= time.Second {
		return figures{}.seconds(past.Seconds())
	}
	return "0 s"
}

func (f figures) moment(at time.Time) string {
	switch {
	case at.IsZero():
		return unknown
	case f.exact:
		return at.UTC().Format(time.RFC3339Nano)
	}
	return at.Local().Format(time.DateTime)
}

// scaled chooses a unit, each a thousand times the one before; what would round to 1000 takes
// the next. In the first unit the number has no decimals.
func scaled(v float64, units []string, space string) string {
	unit := 0
	for unit < len(units)-1 && math.Abs(v) >= 999.5 {
		v /= 1000
		unit++
	}
	if unit == 0 {
		return fixed(v, 0) + space + units[0]
	}
	return three(v) + space + units[unit]
}

// three formats a number with three figures: 9.99, 99.9, 999.
func three(v float64) string {
	switch abs := math.Abs(v); {
	case abs < 9.995:
		return fixed(v, 2)
	case abs < 99.95:
		return fixed(v, 1)
	}
	return fixed(v, 0)
}

// fixed formats with a number of decimals and rounds halves away from zero, as JavaScript
// does; strconv rounds them to even.
func fixed(v float64, decimals int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return unknown
	}
	return new(big.Rat).SetFloat64(v).FloatString(decimals)
}

// group puts a comma before every three digits of a whole number.
func group(digits string) string {
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
