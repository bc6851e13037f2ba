// Package report is what a bench leaves behind: every run as JSON, the medians
// and verdicts as Markdown, and one page of HTML with plots. It also compares
// two reports.
//
// It must not know how anything is measured: it starts from a Document.
package report
