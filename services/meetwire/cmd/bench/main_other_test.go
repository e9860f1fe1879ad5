//go:build !linux

package main_test

import "testing"

// processScenarios are none: only Linux tells about the processes of others in files.
func processScenarios() map[string]func(*testing.T, string) { return nil }
