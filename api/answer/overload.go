package answer

import "time"

// Overload says how near the relay is to its limits, and what it has given up for that.
type Overload struct {
	// On is false if the operator has turned the ladder off. The pressure is read all the
	// same.
	On bool `json:"on"`
	// Step is the last step of the ladder that has been entered, "none" before the first,
	// and Since when it became the present one.
	Step  string    `json:"step"`
	Since time.Time `json:"since"`
	// Pressure is the highest of all inputs, from 0 to 1, and Input which has it; absent
	// while all are at 0.
	Pressure float64         `json:"pressure"`
	Input    string          `json:"input,omitempty"`
	Inputs   []OverloadInput `json:"inputs"`
	Steps    []OverloadStep  `json:"steps"`
}

// OverloadInput is one of the numbers that make the pressure.
type OverloadInput struct {
	Name string `json:"name"`
	// Pressure is smoothed; absent while the input cannot be read.
	Pressure *float64 `json:"pressure,omitempty"`
	// Detail says what was last read, or why it could not be.
	Detail string `json:"detail,omitempty"`
}

// OverloadStep is one step of the ladder, in the order in which they are entered.
type OverloadStep struct {
	Name   string `json:"name"`
	Effect string `json:"effect"`
	// EnterAt and LeaveAt are the pressures at which the step is entered and below which it
	// is left.
	EnterAt float64 `json:"enter_at"`
	LeaveAt float64 `json:"leave_at"`
	Active  bool    `json:"active"`
	// Entered counts how often it has been entered.
	Entered uint64 `json:"entered"`
}
