package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// procRoot is where Linux tells about processes. Other systems have no such place; the columns that need it stay
// empty there.
const procRoot = "/proc"

// tick is the unit in which the kernel tells the times of processes, on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// errStat is returned for a text that is not one of /proc.
var errStat = errors.New("unexpected text in /proc")

// stat is what /proc/<pid>/stat says.
type stat struct {
	parent int
	cpu    time.Duration // user and system
	waited time.Duration // of children that have ended
}

// parseStat reads /proc/<pid>/stat, see proc_pid_stat(5).
func parseStat(text string) (stat, error) {
	// The second field is the program's name in parentheses and may itself contain spaces and parentheses.
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return stat{}, fmt.Errorf("%w: no name", errStat)
	}
	fields := strings.Fields(text[end+1:]) // from the third on
	const first = 3
	number := func(field int) (int64, error) {
		if field-first >= len(fields) {
			return 0, fmt.Errorf("%w: %d fields", errStat, len(fields))
		}
		n, err := strconv.ParseInt(fields[field-first], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: field %d: %w", errStat, field, err)
		}
		return n, nil
	}
	const ppid, utime, stime, cutime, cstime = 4, 14, 15, 16, 17
	var values [5]int64
	for i, field := range []int{ppid, utime, stime, cutime, cstime} {
		var err error
		if values[i], err = number(field); err != nil {
			return stat{}, err
		}
	}
	return stat{
		parent: int(values[0]),
		cpu:    time.Duration(values[1]+values[2]) * tick,
		waited: time.Duration(values[3]+values[4]) * tick,
	}, nil
}

// Lines of /proc/<pid>/status.
const (
	lineResident = "VmRSS:"
	linePeak     = "VmHWM:" // the greatest resident memory so far
)

// parseMemory reads a line of /proc/<pid>/status, in bytes.
func parseMemory(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		value, found := strings.CutPrefix(line, name)
		if !found {
			continue
		}
		kilobytes, found := strings.CutSuffix(strings.TrimSpace(value), " kB")
		if !found {
			return 0, fmt.Errorf("%w: %s without its unit", errStat, name)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(kilobytes), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: %s %w", errStat, name, err)
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("%w: no %s", errStat, name)
}

// parsePeak reads the greatest resident memory so far.
func parsePeak(text string) (int64, error) { return parseMemory(text, linePeak) }

// proc reads from a folder like /proc.
type proc string

// available reports whether the system tells about processes.
func (p proc) available() bool {
	_, err := os.Stat(filepath.Join(string(p), "self", "stat"))
	return err == nil
}

func (p proc) stat(pid int) (stat, error) {
	text, err := os.ReadFile(filepath.Join(string(p), strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return parseStat(string(text))
}

// cpu is the time that a process has used.
func (p proc) cpu(pid int) (time.Duration, error) {
	s, err := p.stat(pid)
	return s.cpu, err
}

// treeCPU is the time that a process and its children have used, those that have ended included.
func (p proc) treeCPU(root int) (time.Duration, error) {
	own, err := p.stat(root)
	if err != nil {
		return 0, err
	}
	entries, err := os.ReadDir(string(p))
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	sum := own.cpu + own.waited
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		child, err := p.stat(pid)
		if err != nil {
			continue // it has ended in between
		}
		if child.parent == root {
			sum += child.cpu
		}
	}
	return sum, nil
}

// peak is the greatest resident memory of a process so far, in bytes.
func (p proc) peak(pid int) (int64, error) {
	text, err := os.ReadFile(filepath.Join(string(p), strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return parsePeak(string(text))
}

// resident begins to look for the greatest resident memory of a process anew, and returns what it is now, in bytes.
func (p proc) resident(pid int) (int64, error) {
	folder := filepath.Join(string(p), strconv.Itoa(pid))
	const resetPeak = "5" // see proc_pid_clear_refs(5)
	if err := os.WriteFile(filepath.Join(folder, "clear_refs"), []byte(resetPeak), 0); err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "status")) //nolint:gosec // G304: a place of the system
	if err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return parseMemory(string(text), lineResident)
}
