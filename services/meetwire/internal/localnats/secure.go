package localnats

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/meetwire/internal/natsconfig"
)

// Users are the users of a server with accounts, and their passwords.
type Users struct {
	passwords  map[string]secret.String
	publishers []string
}

// LoadUsers reads the passwords of the users from a file that only this user of the machine can read. Those that are
// not there, at the first start all, are made and kept in it.
func LoadUsers(path string, publishers []string) (*Users, error) {
	names, err := natsconfig.Users(publishers)
	if err != nil {
		return nil, err
	}
	u := &Users{passwords: make(map[string]secret.String), publishers: publishers}
	content, err := os.ReadFile(path) //nolint:gosec // G304: in our own data folder
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the passwords of NATS: %w", err)
	}
	known := make(map[string]string)
	for line := range strings.Lines(string(content)) {
		if variable, password, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			known[variable] = password
		}
	}
	lines, added := string(content), false
	if lines != "" && !strings.HasSuffix(lines, "\n") {
		lines += "\n" // somebody has edited it
	}
	for _, name := range names {
		variable := natsconfig.PasswordVariable(name)
		if known[variable] == "" {
			if known[variable], err = newPassword(); err != nil {
				return nil, err
			}
			lines += variable + "=" + known[variable] + "\n"
			added = true
		}
		u.passwords[name] = secret.New(known[variable])
	}
	if !added {
		return u, nil
	}
	return u, replaceFile(path, lines)
}

func newPassword() (string, error) {
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return "", fmt.Errorf("make a password: %w", err)
	}
	// The letter in front keeps NATS from reading the value as a number.
	return "s" + hex.EncodeToString(random), nil
}

// replaceFile writes a file through another name, so that a crash leaves no half of it.
func replaceFile(path, content string) error {
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil { //nolint:gosec // G703: in our own data folder
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Password returns a user's password; of one who does not exist, none.
func (u *Users) Password(name string) secret.String { return u.passwords[name] }

// options reads the accounts as a nats-server does, from a file that is removed again: it has every password.
func (u *Users) options() (_ *server.Options, err error) {
	accounts, err := natsconfig.Accounts(u.publishers, func(user string) string {
		return strconv.Quote(u.passwords[user].Reveal())
	})
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "meetwire-nats-*.conf") // 0600
	if err != nil {
		return nil, fmt.Errorf("write the accounts of NATS: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	_, err = file.WriteString(accounts)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("write the accounts of NATS: %w", err)
	}
	options, err := server.ProcessConfigFile(file.Name())
	if err != nil {
		return nil, fmt.Errorf("read the accounts of NATS: %w", err)
	}
	options.ConfigFile = "" // it is gone
	return options, nil
}
