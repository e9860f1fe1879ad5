package completion

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Word is what the scripts call the program with: the shell and the words so far follow it.
const Word = "__complete"

//go:embed meetwire.bash meetwire.zsh meetwire.fish
var scripts embed.FS

// errNoShell is returned for a shell that has no script.
var errNoShell = errors.New("shells are bash, zsh and fish")

// Command prints the script of a shell.
type Command struct {
	Shell string `arg:"" help:"Shell: ${enum}." enum:"bash,zsh,fish"`
}

// Help explains how it is used.
func (*Command) Help() string {
	return "    bash: source <(meetwire completion bash)\n    zsh: meetwire completion zsh > \"${fpath[1]}/_meetwire\"\n" +
		"    fish: meetwire completion fish > ~/.config/fish/completions/meetwire.fish"
}

// Write writes the script.
func (c *Command) Write(out io.Writer) error {
	script, err := scripts.ReadFile("meetwire." + c.Shell)
	if err != nil {
		return errNoShell
	}
	if _, err := out.Write(script); err != nil {
		return fmt.Errorf("write the script: %w", err)
	}
	return nil
}

// Answer answers a script: a line for each candidate in the form that its shell wants, or `:files`.
func Answer(model *kong.Application, shell string, words []string, out io.Writer) error {
	candidates, files := Candidates(model, words)
	var b strings.Builder
	if files {
		b.WriteString(":files\n")
	}
	for _, c := range candidates {
		help, _, _ := strings.Cut(c.Help, "\n")
		switch shell {
		case "bash":
			// It takes the part behind = for the word.
			if _, value, found := strings.Cut(c.Word, "="); found {
				c.Word = value
			}
			fmt.Fprintf(&b, "%s\n", c.Word)
		case "zsh":
			fmt.Fprintf(&b, "%s:%s\n", strings.ReplaceAll(c.Word, ":", `\:`), help)
		case "fish":
			fmt.Fprintf(&b, "%s\t%s\n", c.Word, help)
		default:
			return errNoShell
		}
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("write the candidates: %w", err)
	}
	return nil
}
