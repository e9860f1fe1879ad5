//go:build unix

package localpg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/meetwire/meetwire/pkg/secret"
)

// folder is the folder of one server, locked for this process.
type folder struct {
	root string
	lock *os.File
}

func (f *folder) data() string     { return filepath.Join(f.root, "data") }
func (f *folder) newData() string  { return filepath.Join(f.root, "data.new") } // being made
func (f *folder) password() string { return filepath.Join(f.root, "password") }

// openFolder makes the folder when it is absent and locks it until close, or until this process dies, however
// it does.
func openFolder(dir string) (*folder, error) {
	if dir == "" {
		return nil, errors.New("no folder for the Postgres server was given")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // G301: folders above ours are as usual
		return nil, fmt.Errorf("make the folder: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make the folder: %w", err)
	}
	// The path as the system names it, by which the server's processes are recognized.
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("find the folder: %w", err)
	}
	f := &folder{root: dir}
	if err := f.checkOurs(); err != nil {
		return nil, err
	}
	if err := f.acquire(); err != nil {
		return nil, err
	}
	return f, nil
}

// checkOurs refuses a folder with foreign files: it is given to another user when this process is root's, and a
// mistaken path must not do that to somebody's home.
func (f *folder) checkOurs() error {
	entries, err := os.ReadDir(f.root)
	if err != nil {
		return fmt.Errorf("read the folder: %w", err)
	}
	for _, entry := range entries {
		switch entry.Name() {
		case "data", "data.new", "password", "lock", "lost+found":
		default:
			return fmt.Errorf("%w: %s has %q", ErrNotOurs, f.root, entry.Name())
		}
	}
	return nil
}

func (f *folder) acquire() error {
	lock, err := os.OpenFile(filepath.Join(f.root, "lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("open the lock of the folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			holder, readErr := io.ReadAll(io.LimitReader(lock, 20))
			err = errors.Join(fmt.Errorf("%w: %s, started by process %s", ErrRunning, f.root, strings.TrimSpace(string(holder))), readErr)
		} else {
			err = fmt.Errorf("lock the folder: %w", err)
		}
		return errors.Join(err, lock.Close())
	}
	f.lock = lock
	// Who holds it is told to whoever comes next.
	_, err = lock.WriteAt(fmt.Appendf(nil, "%-10d\n", os.Getpid()), 0) // as long as any before
	if err != nil {
		return errors.Join(fmt.Errorf("write the lock of the folder: %w", err), f.close())
	}
	return nil
}

// close gives the lock up. Closing the file is not enough: a program that is being started at the same moment
// has a copy of it for an instant.
func (f *folder) close() error {
	if err := errors.Join(syscall.Flock(int(f.lock.Fd()), syscall.LOCK_UN), f.lock.Close()); err != nil {
		return fmt.Errorf("give up the lock of the folder: %w", err)
	}
	return nil
}

// major returns the version that the data was made with, 0 when there is none yet.
func (f *folder) major() (int, error) {
	text, err := os.ReadFile(filepath.Join(f.data(), "PG_VERSION"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read the version of the data: %w", err)
	}
	major, err := parseMajor(string(text))
	if err != nil {
		return 0, fmt.Errorf("read the version of the data: %w", err)
	}
	return major, nil
}

// initialize makes password and data, unless the data is there, and returns the password. The data appears as
// a whole, after the password: what a crash leaves is made anew.
func (f *folder) initialize(ctx context.Context, run *account, p programs, durable bool) (secret.String, error) {
	switch _, err := os.Stat(f.data()); {
	case err == nil:
		text, err := os.ReadFile(f.password())
		if err != nil {
			return secret.String{}, fmt.Errorf("read the password of the server: %w", err)
		}
		return secret.New(strings.TrimSpace(string(text))), nil
	case !errors.Is(err, os.ErrNotExist):
		return secret.String{}, fmt.Errorf("look for the data: %w", err)
	}
	password := secret.New(rand.Text())
	if err := f.writePassword(password); err != nil {
		return secret.String{}, err
	}
	if err := run.own(f.password()); err != nil {
		return secret.String{}, err
	}
	if err := os.RemoveAll(f.newData()); err != nil {
		return secret.String{}, fmt.Errorf("remove unfinished data: %w", err)
	}
	args := []string{
		"--pgdata=" + f.newData(), "--username=" + superuser, "--pwfile=" + f.password(), "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--no-instructions",
	}
	if !durable {
		args = append(args, "--no-sync")
	}
	if out, err := run.command(ctx, f.root, p.initdb(), args...).CombinedOutput(); err != nil {
		return secret.String{}, fmt.Errorf("make the data folder: %w: %s", errors.Join(err, ctx.Err()), strings.TrimSpace(string(out)))
	}
	if err := os.Rename(f.newData(), f.data()); err != nil {
		return secret.String{}, fmt.Errorf("finish the data folder: %w", err)
	}
	return password, f.sync()
}

func (f *folder) writePassword(password secret.String) (err error) {
	file, err := os.OpenFile(f.password(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("write the password of the server: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := fmt.Fprintln(file, password.Reveal()); err != nil {
		return fmt.Errorf("write the password of the server: %w", err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("write the password of the server: %w", err)
	}
	return nil
}

// sync makes the names in the folder survive a power cut.
func (f *folder) sync() (err error) {
	dir, err := os.Open(f.root)
	if err != nil {
		return fmt.Errorf("sync the folder: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync the folder: %w", err)
	}
	return nil
}
