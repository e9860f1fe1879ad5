//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// account is the user that the server runs as. Nil is the user of this process.
type account struct {
	name     string
	uid, gid int
}

// serverAccount chooses the account: this process's own, except for root, whom Postgres refuses. Then it is the
// owner of the data when there is any, else the user postgres, else nobody.
func serverAccount(data string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // no other account is a result, not a failure
	}
	if info, err := os.Stat(data); err == nil {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
			return &account{name: "number " + strconv.Itoa(int(owner.Uid)), uid: int(owner.Uid), gid: int(owner.Gid)}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("read the ids of the user %s: %w", name, err)
		}
		return &account{name: name, uid: uid, gid: gid}, nil
	}
	return nil, errors.New("Postgres does not run as root, and there is neither a user postgres nor a user nobody: run this as an ordinary user") //nolint:staticcheck // ST1005: a name
}

// own gives files to the account.
func (a *account) own(paths ...string) error {
	if a == nil {
		return nil
	}
	for _, path := range paths {
		if err := os.Lchown(path, a.uid, a.gid); err != nil {
			return fmt.Errorf("give %s to the user %s: %w", path, a.name, err)
		}
	}
	return nil
}

// command prepares a program that runs as the account, in a process group of its own: a Ctrl-C at the terminal
// is for this process, which stops the server when everything else has stopped.
func (a *account) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // G204: the program was found by this package or named by the caller
	cmd.Dir = dir
	cmd.Env = environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // G115: ids came as 32 bits; -2 is written so on some systems
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeWait
	return cmd
}

// environment is what the server's processes get of ours: where programs and libraries are, and no secrets.
func environment() []string {
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// reach checks by trying that the account may run the programs and enter the folder, for which every folder
// above must be open to it.
func (a *account) reach(ctx context.Context, p programs, dir string) error {
	if a == nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, versionWait)
	defer cancel()
	problem := fmt.Sprintf("cannot run %s", p.postgres())
	err := a.command(limited, "/", p.postgres(), "--version").Run()
	if err == nil {
		problem = fmt.Sprintf("cannot enter %s: open the folders above it to that user, or choose another folder", dir)
		err = a.command(limited, dir, p.postgres(), "--version").Run()
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("check the folder: %w", ctx.Err())
	case err != nil:
		return fmt.Errorf("the user %s, which the server runs as because Postgres refuses root, %s: %w", a.name, problem, err)
	}
	return nil
}
