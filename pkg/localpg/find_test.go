//go:build unix

package localpg

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFind(t *testing.T) {
	t.Parallel()
	dir, err := Find()
	require.NoError(t, err)
	p, err := inspect(newContext(t), dir)
	require.NoError(t, err)
	require.GreaterOrEqual(t, p.major, minMajor)

	exact, err := find(newContext(t), p.major)
	require.NoError(t, err)
	require.Equal(t, p.major, exact.major)

	_, err = find(newContext(t), 9)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "version 9")
	require.ErrorContains(t, err, dir, "the error must say what there is")
}

func TestParseMajor(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n": 15,
		"postgres (PostgreSQL) 18beta2":                          18,
		"postgres (PostgreSQL) 17.5":                             17,
		"9.6\n":                                                  9,
		"16":                                                     16,
	} {
		got, err := parseMajor(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "postgres", "(15)"} {
		_, err := parseMajor(text)
		require.Error(t, err, text)
	}
}

// install makes a folder like that of an installed version, with programs that only say it.
func install(t *testing.T, dir, version string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for _, program := range []string{"postgres", "initdb"} {
		script := "#!/bin/sh\necho '" + program + " (PostgreSQL) " + version + "'\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755))
	}
}

func TestNewestPackageComesFirst(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	name := filepath.Join(root, "lib")
	for _, version := range []string{"9", "15", "17", "16"} {
		install(t, filepath.Join(name, version, "bin"), version+".1")
	}
	var versions []int
	for _, dir := range packaged(filepath.Join(name, "*", "bin")) {
		p, err := inspect(newContext(t), dir)
		require.NoError(t, err)
		versions = append(versions, p.major)
	}
	require.Equal(t, []int{17, 16, 15, 9}, versions)
	require.Empty(t, packaged(filepath.Join(root, "nothing", "*"), "["))
}

func TestInspectRefusesHalfAnInstallation(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "bin")
	_, err := inspect(newContext(t), dir)
	require.ErrorIs(t, err, os.ErrNotExist)

	install(t, dir, "17.1")
	_, err = inspect(newContext(t), dir)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(filepath.Join(dir, "initdb"), 0o600))
	_, err = inspect(newContext(t), dir)
	require.ErrorContains(t, err, "not a program")
	require.NoError(t, os.Remove(filepath.Join(dir, "initdb")))
	_, err = inspect(newContext(t), dir)
	require.ErrorIs(t, err, os.ErrNotExist)

	install(t, dir, "unknown")
	_, err = inspect(newContext(t), dir)
	require.ErrorContains(t, err, "version")
}
