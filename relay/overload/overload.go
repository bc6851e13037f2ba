// Package overload decides how far a relay that comes near its limits gives up what its
// running sessions do not need. Inputs (sampler.go, memory.go) have a pressure from 0 to 1
// each, and the highest is the relay's. A ladder (ladder.go) of named steps follows it: a
// step is entered at one pressure and left at a lower one, after a hold.
//
// No step touches a running session. The package knows nothing of shards or of the API,
// and has no clock: the caller gives it numbers and times (package relay), and does what a
// step says. It reads files only by the file system that it is given.
package overload

// Step is how far the relay has gone. Each step includes those before it.
type Step uint8

// The steps of the ladder.
const (
	StepNone       Step = iota
	StepTelemetry       // sessions are not measured
	StepCaptures        // captures have ended, and none begins
	StepPlayers         // new players are refused
	StepPublishers      // ... and new publishers: nobody is taken, and /ready says so

	numSteps = int(StepPublishers) + 1
)

var stepNames = [numSteps]string{
	StepNone: "none", StepTelemetry: "telemetry", StepCaptures: "captures", StepPlayers: "players", StepPublishers: "publishers",
}

// stepEffects say what a step does, for operators.
var stepEffects = [numSteps]string{
	StepTelemetry:  "sessions are not measured: no RTT, no loss",
	StepCaptures:   "captures have ended, and new ones are refused",
	StepPlayers:    "new players are refused with 2402",
	StepPublishers: "new publishers are refused with 2402, and /ready answers 503",
}

// String returns the step's name in the API, in events and in metrics.
func (s Step) String() string {
	if int(s) < numSteps {
		return stepNames[s]
	}
	return "unknown"
}

// Effect says what the step does.
func (s Step) Effect() string {
	if int(s) < numSteps {
		return stepEffects[s]
	}
	return ""
}

// Steps returns the steps of the ladder in the order in which they are entered, without
// StepNone.
func Steps() []Step { return []Step{StepTelemetry, StepCaptures, StepPlayers, StepPublishers} }

// The pressures at which steps are entered and left.
var (
	enterAt = [numSteps]float64{StepTelemetry: 0.80, StepCaptures: 0.85, StepPlayers: 0.90, StepPublishers: 0.95}
	leaveAt = [numSteps]float64{StepTelemetry: 0.70, StepCaptures: 0.75, StepPlayers: 0.80, StepPublishers: 0.85}
)

// EnterAt returns the pressure at which a step is entered.
func (s Step) EnterAt() float64 { return enterAt[s] }

// LeaveAt returns the pressure below which a step is left, after a hold.
func (s Step) LeaveAt() float64 { return leaveAt[s] }

// Input is one of the numbers that make the pressure.
type Input uint8

// The inputs.
const (
	InputSessions   Input = iota // of the most that the shards may have
	InputHandshakes              // half-open ones, of the most that the shards may have
	InputDrops                   // datagrams that the kernel dropped at a full receive buffer
	InputTurns                   // time in which a loop could not receive
	InputMemory                  // of the limit

	NumInputs = int(InputMemory) + 1
)

var inputNames = [NumInputs]string{
	InputSessions: "sessions", InputHandshakes: "handshakes", InputDrops: "drops", InputTurns: "turns", InputMemory: "memory",
}

// String returns the input's name in the API, in events and in metrics.
func (i Input) String() string {
	if int(i) < NumInputs {
		return inputNames[i]
	}
	return "unknown"
}

// Inputs returns all inputs.
func Inputs() []Input {
	all := make([]Input, NumInputs)
	for i := range all {
		all[i] = Input(i)
	}
	return all
}

// Reading is one input's value at one time.
type Reading struct {
	// Pressure is from 0 to 1, if it is Known.
	Pressure float64
	Known    bool
	// Detail says what was read, or why it could not be, for operators.
	Detail string
}

// Readings are those of all inputs.
type Readings [NumInputs]Reading
