// Package report writes the results of a bench: every run as JSON, the medians and verdicts
// as Markdown, and one page of HTML with plots. It also compares two reports.
//
// It draws its charts itself. gonum.org/v1/plot was tried and looked worse: its
// SVG has fixed colours on white, where the page follows the reader's dark mode;
// a point has no tooltip with median and extremes; the legend lies over the
// lines, and no line bears its name; ticks read 60000 for 60k, and the last one
// is cut off. It is eight modules to compile besides.
//
// It must not know how anything is measured: it starts from a Document.
package report
