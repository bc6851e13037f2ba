package term

import (
	"strings"

	"srtrelay/api/answer"
)

// bars are the cells of a strip, by height.
var bars = []rune("▁▂▃▄▅▆▇█")

// The live view of streams shows their last minute where there is room for it.
const (
	minuteWidth = 30                           // of its bars, one for two seconds
	allColumns  = 133                          // the least width of all other columns
	minuteFrom  = allColumns + 2 + minuteWidth // the width of a screen with room for both
)

// liveStreamColumns returns the columns of the live view.
func (t *top) liveStreamColumns() []column[answer.Stream] {
	columns := streamColumns(t.now, shortKey)
	if t.width < minuteFrom {
		return columns
	}
	return append(columns, column[answer.Stream]{
		title: "IN, LAST MINUTE", left: true, minWidth: minuteWidth,
		text: func(_ figures, v answer.Stream) string { return minute(v.History) },
	})
}

// minute draws the bitrate of a stream's publishers, relative to its highest.
func minute(h *answer.History) string {
	if h == nil || len(h.BitrateIn) == 0 {
		return ""
	}
	in := h.BitrateIn
	highest := greatest(in)
	var b strings.Builder
	for i := range minuteWidth {
		v := in[i*len(in)/minuteWidth : max((i+1)*len(in)/minuteWidth, i*len(in)/minuteWidth+1)]
		b.WriteString(barOf(greatest(v), highest))
	}
	return b.String()
}

// greatest returns the greatest known value, 0 if there is none.
func greatest(values []*float64) float64 {
	most := 0.0
	for _, v := range values {
		if v != nil {
			most = max(most, *v)
		}
	}
	return most
}

// barOf returns the bar of a value, blank for 0.
func barOf(v, highest float64) string {
	if v <= 0 {
		return " "
	}
	return string(bars[min(int(v/highest*float64(len(bars))), len(bars)-1)])
}
