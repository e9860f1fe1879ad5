package meetwire_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/meetwire"
)

// complete asks for the candidates of a command line, as the script of a shell does.
func complete(t *testing.T, shell string, words ...string) []string {
	t.Helper()
	var out, problems bytes.Buffer
	require.Zero(t, meetwire.Main(append([]string{"__complete", shell}, words...), nil, &out, &problems), problems.String())
	if out.Len() == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		"we":                                   {"webhooks"},
		"webhooks re":                          {"resume", "reveal-secret"},
		"webhooks --output json re":            {"resume", "reveal-secret"},
		"webhooks -o json re":                  {"resume", "reveal-secret"},
		"webhooks -ojson re":                   {"resume", "reveal-secret"},
		"webhooks --output=json re":            {"resume", "reveal-secret"},
		"webhooks list --out":                  {"--output"},
		"webhooks list --output ":              {"table", "json", "yaml"},
		"webhooks list --output j":             {"json"},
		"webhooks list --output=j":             {"json"},
		"webhooks list --output = j":           {"json"}, // as bash splits it
		"webhooks list --output =":             {"table", "json", "yaml"},
		"webhooks list -o y":                   {"yaml"},
		"webhooks delete --y":                  {"--yes"},
		"webhooks delete --yes ":               nil, // an id
		"webhooks apply --file ":               {":files"},
		"webhooks apply -f ":                   {":files"},
		"webhooks apply --file=a":              {":files"},
		"keyset rotate ":                       nil,
		"completion ":                          {"bash", "zsh", "fish"},
		"webhooks create x --retries ":         {"standard", "exponential", "none"},
		"webhooks list -- --out":               nil,
		"nothing of this -":                    {"--help", "--version", "--server", "--key-file", "--organization", "--output"},
		"webhooks list --no-such-flag=":        nil,
		"operations wait x --organization ":    nil,
		"operations wait x --organization a -": nil, // checked below
	} {
		got := complete(t, "bash", strings.Split(line, " ")...)
		if strings.HasSuffix(line, " a -") {
			require.Contains(t, got, "--output")
			continue
		}
		require.Equal(t, want, got, "%q", line)
	}
	require.Contains(t, complete(t, "zsh", "webhooks", "li"), "list:List webhooks.")
	require.Contains(t, complete(t, "fish", "webhooks", "li"), "list\tList webhooks.")
	require.NotContains(t, complete(t, "bash", ""), "__complete")
	require.Equal(t, complete(t, "bash", ""), complete(t, "bash"))
	require.NotZero(t, meetwire.Main([]string{"__complete", "tcsh", "we"}, nil, &bytes.Buffer{}, &bytes.Buffer{}))
	require.Equal(t, 2, meetwire.Main([]string{"completion", "tcsh"}, nil, &bytes.Buffer{}, &bytes.Buffer{}))
}

// A bash that has read the script completes.
func TestBashCompletes(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	var script, problems bytes.Buffer
	require.Zero(t, meetwire.Main([]string{"completion", "bash"}, nil, &script, &problems), problems.String())
	require.NoError(t, os.WriteFile(filepath.Join(folder, "script"), script.Bytes(), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "a file.yaml"), nil, 0o600))
	build := exec.Command("go", "build", "-o", filepath.Join(folder, "meetwire"), "./cmd/meetwire")
	output, err := build.CombinedOutput()
	require.NoError(t, err, string(output))
	for line, want := range map[string]string{
		"meetwire webhooks re":                "resume\nreveal-secret\n",
		"meetwire webhooks list --output = j": "json\n",
		"meetwire webhooks apply --file a":    "a file.yaml\n",
		"meetwire webhooks list --nothing":    "",
	} {
		words := strings.Split(line, " ")
		cmd := exec.Command("bash", append([]string{"--norc", "-c",
			`source ./script; PATH="$PWD:$PATH"; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _meetwire; for w in "${COMPREPLY[@]}"; do echo "$w"; done`, "bash"},
			words...)...)
		cmd.Dir = folder
		got, err := cmd.CombinedOutput()
		require.NoError(t, err, string(got))
		require.Equal(t, want, string(got), line)
	}
}
