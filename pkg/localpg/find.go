package localpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minMajor is the oldest major version of Postgres that is used.
const minMajor = 15

// versionWait bounds a call that only prints a version or a folder.
const versionWait = 10 * time.Second

// programs is a folder with the programs of one Postgres version.
type programs struct {
	dir   string
	major int
}

func (p programs) postgres() string { return filepath.Join(p.dir, "postgres") }
func (p programs) initdb() string   { return filepath.Join(p.dir, "initdb") }

// Find returns the folder of the Postgres programs that Start uses for a new data folder: from PATH, from
// pg_config, or the newest in the places where packages put them. It returns ErrNotFound when there are none of
// version 15 or later.
func Find() (string, error) {
	p, err := find(context.Background(), 0)
	return p.dir, err
}

// find returns the first programs of the major version, or of any that can be used when it is 0.
func find(ctx context.Context, major int) (programs, error) {
	var unfit []string
	for _, dir := range candidates(ctx) {
		p, err := inspect(ctx, dir)
		if err != nil {
			continue // most candidates do not exist
		}
		if p.major == major || major == 0 && p.major >= minMajor {
			return p, nil
		}
		unfit = append(unfit, fmt.Sprintf("%s has version %d", p.dir, p.major))
	}
	if err := ctx.Err(); err != nil {
		return programs{}, fmt.Errorf("look for Postgres: %w", err)
	}
	needed := fmt.Sprintf("version %d or later", minMajor)
	if major != 0 {
		needed = fmt.Sprintf("version %d, which the data was made with", major)
	}
	if len(unfit) > 0 {
		needed += " (" + strings.Join(unfit, ", ") + ")"
	}
	return programs{}, fmt.Errorf("%w: needed is %s; install the package postgresql, or name the folder of its programs", ErrNotFound, needed)
}

// candidates lists folders that may hold the programs, the best first.
func candidates(ctx context.Context) []string {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	ctx, cancel := context.WithTimeout(ctx, versionWait)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	return append(dirs, packaged(
		"/usr/lib/postgresql/*/bin",                               // Debian
		"/usr/pgsql-*/bin",                                        // Red Hat
		"/usr/libexec/postgresql*",                                // Alpine
		"/opt/homebrew/opt/postgresql*/bin",                       // Homebrew on arm64
		"/usr/local/opt/postgresql*/bin",                          // Homebrew on amd64
		"/Applications/Postgres.app/Contents/Versions/[0-9]*/bin", // Postgres.app
		"/opt/local/lib/postgresql*/bin",                          // MacPorts
		"/usr/local/pgsql/bin",                                    // built from source
	)...)
}

// packaged expands patterns to folders, the newest version first.
func packaged(patterns ...string) []string {
	var dirs []string
	for _, pattern := range patterns {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			continue // only a malformed pattern fails
		}
		dirs = append(dirs, matches...)
	}
	// The last number of a path is its version: /usr/lib/postgresql/17/bin.
	number := regexp.MustCompile(`[0-9]+`)
	version := func(dir string) int {
		numbers := number.FindAllString(dir, -1)
		if len(numbers) == 0 {
			return 0 // a path without a version: the last resort
		}
		n, err := strconv.Atoi(numbers[len(numbers)-1])
		if err != nil {
			return 0 // longer than any version
		}
		return n
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	return dirs
}

// inspect checks that a folder has the programs, and reads their version.
func inspect(ctx context.Context, dir string) (programs, error) {
	p := programs{dir: dir}
	for _, program := range []string{p.postgres(), p.initdb()} {
		info, err := os.Stat(program)
		if err != nil {
			return p, fmt.Errorf("look for a Postgres program: %w", err)
		}
		if info.IsDir() || info.Mode()&0o111 == 0 {
			return p, fmt.Errorf("%s is not a program", program)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, versionWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, p.postgres(), "--version").Output() //nolint:gosec // G204: a folder of programs is what this is asked about
	if err != nil {
		return p, fmt.Errorf("ask %s for its version: %w", p.postgres(), errors.Join(err, ctx.Err()))
	}
	p.major, err = parseMajor(string(out))
	if err != nil {
		return p, fmt.Errorf("read the version of %s: %w", p.postgres(), err)
	}
	return p, nil
}

// parseMajor reads the major version from `postgres (PostgreSQL) 17.5 (Debian 17.5-1)`, or from `15`.
func parseMajor(s string) (int, error) {
	for word := range strings.FieldsSeq(s) {
		end := strings.IndexFunc(word, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(word)
		}
		if n, err := strconv.Atoi(word[:end]); err == nil {
			return n, nil
		}
	}
	return 0, errors.New("no number in the answer")
}
