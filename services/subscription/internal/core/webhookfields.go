package core

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/meetwire/meetwire/pkg/fault"
)

var groupPattern = regexp.MustCompile(`^([a-z][a-z0-9_]*\.){1,3}\*$`)

// isPattern reports whether s can be what a webhook asks for.
func isPattern(s string) bool {
	return IsTrigger(s) || len(s) <= MaxTriggerLength && groupPattern.MatchString(s)
}

// covers reports whether a pattern is the trigger, or a group that covers it.
func covers(pattern, trigger string) bool {
	prefix, group := strings.CutSuffix(pattern, "*")
	return pattern == trigger || group && strings.HasPrefix(trigger, prefix)
}

// overlap reports whether there can be a trigger that two patterns cover.
func overlap(a, b string) bool { return covers(a, b) || covers(b, a) }

// coveredByAny reports whether one of the patterns is the trigger, or a group that covers it.
func coveredByAny(patterns []string, trigger string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return covers(pattern, trigger) })
}

// checkPatterns returns what is wrong with what a webhook asks for, except that some may not exist. path is that of the
// list.
func checkPatterns(path string, patterns []string) []fault.Field {
	if len(patterns) == 0 {
		return field(path, ruleRequired, "is required: 1 to %d triggers or groups of them", MaxTriggers)
	}
	if len(patterns) > MaxTriggers {
		return field(path, ruleMaxItems, "must have at most %d triggers and groups of them", MaxTriggers)
	}
	var fields []fault.Field
	seen := make(map[string]int, len(patterns))
	for i, pattern := range patterns {
		at := fmt.Sprintf("%s[%d]", path, i)
		if problem := patternProblem(pattern); problem != "" {
			fields = append(fields, field(at, ruleFormat, "%s", problem)...)
			continue
		}
		if first, ok := seen[pattern]; ok {
			fields = append(fields, field(at, ruleUnique, "%s is there already, at %d", pattern, first)...)
			continue
		}
		seen[pattern] = i
	}
	return fields
}

// checkPatternsKnown returns which patterns, of those that a webhook did not have before, name no trigger, or one that
// is not for new webhooks.
func checkPatternsKnown(patterns, before []string, known []TriggerFacts) []fault.Field {
	var fields []fault.Field
	for i, pattern := range patterns {
		if slices.Contains(before, pattern) {
			continue
		}
		at := fmt.Sprintf("%s[%d]", triggersPath, i)
		first := slices.IndexFunc(known, func(t TriggerFacts) bool { return covers(pattern, t.ID) })
		switch {
		case first < 0 && strings.HasSuffix(pattern, "*"):
			fields = append(fields, field(at, ruleExists, "%s covers no trigger: see the list of triggers", pattern)...)
		case first < 0:
			fields = append(fields, field(at, ruleExists, "%s is not a trigger: see the list of triggers", pattern)...)
		case known[first].ID == pattern && known[first].Deprecated:
			fields = append(fields, field(at, ruleDeprecated, "%s is deprecated, and not for new webhooks", pattern)...)
		}
	}
	return fields
}

const triggersPath = "webhook.triggers"
