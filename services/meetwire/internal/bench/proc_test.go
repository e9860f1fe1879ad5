package bench

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// statLine is a line of /proc/<pid>/stat.
func statLine(pid int, name string, parent int, utime, stime, cutime, cstime int) string {
	number := strconv.Itoa
	return number(pid) + " (" + name + ") S " + number(parent) + " 1 1 0 -1 4194560 12101 0 5 0 " +
		number(utime) + " " + number(stime) + " " + number(cutime) + " " + number(cstime) +
		" 20 0 9 0 2519541 1958629376 14264 18446744073709551615 1 1 0 0 0 0 0 0 2143420159 0 0 0 17 1 0 0 0 0 0\n"
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	want := stat{parent: 77, cpu: 1580 * time.Millisecond, waited: 30 * time.Millisecond}
	for _, name := range []string{"nats-server", "a name with spaces", "half) a (name", ""} {
		got, err := parseStat(statLine(4711, name, 77, 123, 35, 1, 2))
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
	for _, text := range []string{"", "1 nobody S 1", "1 (x", "1 (x) S 1 2 3", "1 (x) S 1 1 1 0 -1 4 1 0 5 0 many 3 0 0 20"} {
		_, err := parseStat(text)
		require.ErrorIs(t, err, errStat, text)
	}
}

func TestParsePeak(t *testing.T) {
	t.Parallel()
	got, err := parsePeak("Name:\tdelivery\nVmPeak:\t 1912724 kB\nVmHWM:\t   57056 kB\nVmRSS:\t   57000 kB\n")
	require.NoError(t, err)
	require.EqualValues(t, 57056<<10, got)
	for _, text := range []string{"", "VmRSS:\t 1 kB\n", "VmHWM:\t 1\n", "VmHWM:\t x kB\n"} {
		_, err := parsePeak(text)
		require.ErrorIs(t, err, errStat, text)
	}
}

// fakeProc makes a folder like /proc.
func fakeProc(t *testing.T, processes map[int]string) proc {
	t.Helper()
	root := t.TempDir()
	for pid, line := range processes {
		folder := filepath.Join(root, strconv.Itoa(pid))
		require.NoError(t, os.Mkdir(folder, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(folder, "stat"), []byte(line), 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(root, "sys"), 0o700))
	return proc(root)
}

func TestTreeCPU(t *testing.T) {
	t.Parallel()
	p := fakeProc(t, map[int]string{
		1:  statLine(1, "init", 0, 1000, 0, 0, 0),
		10: statLine(10, "postgres", 1, 5, 1, 20, 4),
		11: statLine(11, "postgres: writer", 10, 7, 0, 0, 0),
		12: statLine(12, "postgres: client", 10, 0, 3, 0, 0),
		20: statLine(20, "bench", 1, 500, 0, 0, 0),
	})
	got, err := p.treeCPU(10)
	require.NoError(t, err)
	require.Equal(t, 400*time.Millisecond, got)
	got, err = p.cpu(10)
	require.NoError(t, err)
	require.Equal(t, 60*time.Millisecond, got)
	_, err = p.treeCPU(99)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.False(t, p.available())
}

func TestOwnProcess(t *testing.T) {
	t.Parallel()
	p := proc(procRoot)
	if !p.available() {
		_, err := p.cpu(os.Getpid())
		require.Error(t, err)
		return
	}
	peak, err := p.peak(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, peak, int64(1<<20))
	before, err := p.cpu(os.Getpid())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		for n := range 1_000_000 {
			_ = strconv.Itoa(n)
		}
		now, err := p.cpu(os.Getpid())
		return err == nil && now >= before+2*tick
	}, 10*time.Second, time.Millisecond)
}
