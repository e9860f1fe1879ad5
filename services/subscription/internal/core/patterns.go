package core

import "fmt"

// patternProblem returns what is wrong with what a webhook asks for, a trigger or a group of them; empty when nothing
// is.
func patternProblem(s string) string {
	switch {
	case isPattern(s):
		return ""
	case s == "*":
		return "must not be * alone: a group begins with what its triggers have in common, such as meeting.*"
	}
	return fmt.Sprintf("must be two to four tokens of [a-z][a-z0-9_]*, separated by dots, at most %d characters; or a group "+
		"of triggers such as meeting.*", MaxTriggerLength)
}
