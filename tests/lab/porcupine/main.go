// Reads histories of one bounded counter, one JSON array of events a line, and says of each what Porcupine finds.
//
// The events are those of a history file. An unknown operation returns at the end of time with whatever output: if it
// did not happen, it is as if it came last. Refused operations and unanswered reads are left out.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"

	"github.com/anishathalye/porcupine"
)

type event struct {
	Type     string `json:"type"`
	Number   int    `json:"number"`
	AtNs     int64  `json:"at_ns"`
	Process  int    `json:"process"`
	Kind     string `json:"kind"`
	Amount   int64  `json:"amount"`
	Ceiling  *int64 `json:"ceiling"`
	Floor    *int64 `json:"floor"`
	Result   string `json:"result"`
	Value    *int64 `json:"value"`
	Previous *int64 `json:"previous"`
	Revision *int64 `json:"revision"`
}

type state struct {
	value    int64
	revision int64
}

func bound(given *int64, otherwise int64) int64 {
	if given != nil {
		return *given
	}
	return otherwise
}

// apply is the specification: the result, and the state after it.
func apply(before state, call event) (string, state) {
	switch call.Kind {
	case "read":
		return "read", before
	case "set":
		return "applied", state{call.Amount, before.revision + 1}
	case "delete":
		return "applied", state{0, before.revision + 1}
	}
	// Compared without a sum, which might not fit in 64 bits.
	ceiling, floor := bound(call.Ceiling, math.MaxInt64), bound(call.Floor, math.MinInt64)
	if call.Amount > 0 && (before.value > math.MaxInt64-call.Amount || before.value+call.Amount > ceiling) {
		return "rejected", before
	}
	if call.Amount < 0 && (before.value < math.MinInt64-call.Amount || before.value+call.Amount < floor) {
		return "rejected", before
	}
	return "applied", state{before.value + call.Amount, before.revision + 1}
}

func agrees(told *int64, is int64) bool {
	return told == nil || *told == is
}

var counter = porcupine.Model{
	Init: func() interface{} { return state{} },
	Step: func(from, input, output interface{}) (bool, interface{}) {
		before, call, answer := from.(state), input.(event), output.(event)
		result, after := apply(before, call)
		if answer.Result == "unknown" {
			return true, after
		}
		legal := answer.Result == result && agrees(answer.Value, after.value) &&
			agrees(answer.Previous, before.value) && agrees(answer.Revision, after.revision)
		return legal, after
	},
}

// operations pairs calls with answers.
func operations(events []event) []porcupine.Operation {
	answers := map[int]event{}
	for _, one := range events {
		if one.Type == "answer" {
			answers[one.Number] = one
		}
	}
	var found []porcupine.Operation
	for _, call := range events {
		if call.Type != "call" {
			continue
		}
		answer, answered := answers[call.Number]
		if !answered {
			answer = event{Result: "unknown"}
		}
		if answer.Result == "refused" || (answer.Result == "unknown" && call.Kind == "read") {
			continue
		}
		returned := answer.AtNs
		if answer.Result == "unknown" {
			returned = math.MaxInt64
		}
		found = append(found, porcupine.Operation{
			ClientId: call.Number, Input: call, Call: call.AtNs, Output: answer, Return: returned,
		})
	}
	return found
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		var events []event
		if err := json.Unmarshal(lines.Bytes(), &events); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		verdict := "illegal"
		if porcupine.CheckOperations(counter, operations(events)) {
			verdict = "ok"
		}
		fmt.Fprintln(out, verdict)
	}
}
