// Package cpu reads from /proc how much CPU the machine and single processes
// have used between two readings.
//
// It must not know what is measured.
package cpu
