// Package term shows the API's answers to a person at a terminal: tables,
// one session whole, and the live view of srtrelay top.
//
// What it shows are the relay's own numbers, rounded by one rule. It knows the
// API by package client alone, and must not know the relay behind it.
package term
