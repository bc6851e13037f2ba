// Package bitrate reads and writes bitrates as operators write them: 20Mbps.
package bitrate

import (
	"errors"
	"strconv"
	"strings"
)

// Max is the highest bitrate that Parse reads: 1 Tbit/s, beyond any network card.
const Max = 1e12

var units = []struct {
	name  string
	scale float64
}{{"Gbps", 1e9}, {"Mbps", 1e6}, {"kbps", 1e3}, {"bps", 1}}

var errUnit = errors.New("not a bitrate like 20Mbps, with kbps, Mbps or Gbps")

// Parse reads a bitrate with its unit, such as 800kbps or 2.5Mbps, in bit/s. It is above 0.
// Letters are lower case or as in these; Bps and B/s, which are bytes, are refused.
func Parse(text string) (int64, error) {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			number, ok = strings.CutSuffix(text, strings.ToLower(u.name))
		}
		if !ok {
			continue
		}
		whole, fraction, _ := strings.Cut(number, ".")
		if !digits(whole) || strings.Contains(number, ".") && !digits(fraction) {
			return 0, errUnit
		}
		n, err := strconv.ParseFloat(number, 64)
		switch bits := n * u.scale; {
		case err != nil:
			return 0, errUnit
		case bits < 1:
			return 0, errors.New("less than 1bps")
		case bits > Max:
			return 0, errors.New("more than 1000Gbps")
		default:
			return int64(bits + 0.5), nil
		}
	}
	return 0, errUnit
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// Format writes a bitrate with three digits or fewer behind the point.
func Format(bits int64) string {
	for _, u := range units {
		if n := float64(bits) / u.scale; n >= 1 || u.scale == 1 {
			text := strconv.FormatFloat(n, 'f', 3, 64)
			return strings.TrimSuffix(strings.TrimRight(text, "0"), ".") + u.name
		}
	}
	return ""
}
