package cli

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
)

// confirmation is what commands have that destroy something.
type confirmation struct {
	Yes bool `help:"Do not ask. Required where nobody can be asked." short:"y"`
}

// confirm asks twice whether something is to be done that cannot be undone: whether it is wanted, and what it is
// about, which must be typed.
func (c confirmation) confirm(s *Session, what, name string) error {
	if c.Yes {
		return nil
	}
	if !s.terminal.Interactive {
		return fmt.Errorf("%w: give --yes to %s without being asked", errNotConfirmed, what)
	}
	in := bufio.NewReader(s.terminal.In)
	answer, err := s.ask(in, fmt.Sprintf("Really %s? This cannot be undone. [y/N] ", what))
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"y", "yes"}, strings.ToLower(answer)) {
		return errNotConfirmed
	}
	if answer, err = s.ask(in, fmt.Sprintf("Type %s to confirm: ", name)); err != nil {
		return err
	}
	if answer != name {
		return errNotConfirmed
	}
	return nil
}

func (s *Session) ask(in *bufio.Reader, question string) (string, error) {
	if _, err := fmt.Fprint(s.terminal.Err, question); err != nil {
		return "", fmt.Errorf("ask: %w", err)
	}
	answer, err := in.ReadString('\n')
	if err != nil && answer == "" {
		return "", errNotConfirmed
	}
	return strings.TrimSpace(answer), nil
}

func sortedList(items []string) string {
	slices.Sort(items)
	return strings.Join(items, ", ")
}
