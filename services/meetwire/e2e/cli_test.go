package e2e_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files anew") //nolint:gochecknoglobals // a test flag

// operator runs commands against an installation.
type operator struct {
	*installation
	path string
	org  string
	key  string
	used map[string]bool // commands that were run
}

func newOperator(t *testing.T, i *installation, org string) *operator {
	t.Helper()
	return &operator{installation: i, path: binary(t, "meetwire"), org: org, key: i.key, used: map[string]bool{}}
}

// outcome is what a command has done.
type outcome struct {
	code     int
	out, err string
}

// environment is that of a command: nothing of this process but where programs are.
func (o *operator) environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(),
		"MEETWIRE_SERVER=" + o.rest, "MEETWIRE_ORGANIZATION=" + o.org, "MEETWIRE_API_KEY=" + o.key,
	}
}

// run runs a command. Standard input is no terminal.
func (o *operator) run(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	cmd := exec.Command(o.path, args...)
	cmd.Env, cmd.Stdin = o.environment(), strings.NewReader(stdin)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	if err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	result := outcome{cmd.ProcessState.ExitCode(), out.String(), problems.String()}
	require.NotContains(t, result.out+result.err, o.key, "the key is in no output")
	words := slices.DeleteFunc(slices.Clone(args), func(word string) bool { return strings.HasPrefix(word, "-") })
	o.used[strings.Join(words[:min(2, len(words))], " ")] = true
	o.used[words[0]] = true
	return result
}

// ok runs a command that must succeed, and returns what it writes.
func (o *operator) ok(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	result := o.run(t, stdin, args...)
	require.Zero(t, result.code, "%v: %s%s", args, result.out, result.err)
	return result.out
}

// fails runs a command that must not succeed, and returns what it says.
func (o *operator) fails(t *testing.T, code int, args ...string) string {
	t.Helper()
	result := o.run(t, "", args...)
	require.Equal(t, code, result.code, "%v: %s%s", args, result.out, result.err)
	require.Empty(t, result.out, "%v", args)
	require.True(t, strings.HasPrefix(result.err, "meetwire: "), result.err)
	return result.err
}

// What differs from run to run, and what stands for it, which is as long.
var changing = []struct{ pattern, to string }{ //nolint:gochecknoglobals // never changed
	{`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, "00000000-0000-4000-8000-000000000000"},
	{`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`, "2027-01-02T03:04:05Z"},
	{`mwk_[a-z0-9]{16}_[A-Za-z0-9_-]{43}`, "mwk_0000000000000000_0000000000000000000000000000000000000000000"},
	{`whsec_[A-Za-z0-9+/=]+`, "whsec_" + strings.Repeat("0", 44)},
	{`(webhook-timestamp:) \d+`, "$1 1800000000"},
	{`v1,[A-Za-z0-9+/=]{44}`, "v1," + strings.Repeat("0", 44)},
	{`(?m)^(etag +)\S+$`, "${1}00000000"},
	{`(?m)^(User-Agent: Meetwire/).*$`, "${1}0"},
	{`(?m)^(key +)[a-z0-9]{16}$`, "${1}0000000000000000"},
	{`(?m)^[a-z0-9]{16}( +ci)`, "0000000000000000$1"},
	{`127\.0\.0\.1:\d+`, "127.0.0.1:1"},
}

func normalized(text string) string {
	for _, c := range changing {
		text = regexp.MustCompile(c.pattern).ReplaceAllString(text, c.to)
	}
	return text
}

// golden compares what a command writes with what it wrote before.
func (o *operator) golden(t *testing.T, name, got string) {
	t.Helper()
	got = normalized(got)
	path := filepath.Join("testdata", "cli", name+".golden")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run the test with -update")
	require.Equal(t, string(want), got, name)
}

// shows runs a command that must succeed and compares what it writes.
func (o *operator) shows(t *testing.T, name, stdin string, args ...string) string {
	t.Helper()
	out := o.ok(t, stdin, args...)
	o.golden(t, name, out)
	return out
}

// TestCommands looks after an installation with commands.
func TestCommands(t *testing.T) {
	t.Parallel()
	o := newOperator(t, up(t, dataFolder(t)), "acme")
	o.organizations(t)
	o.teams(t)
	o.triggers(t)
	o.keys(t)
	o.webhooks(t)
	o.secrets(t)
	o.applies(t)
	o.refusals(t)
	o.keyset(t)
	o.eventCommands(t)
	o.rejectCommands(t)
	o.audit(t)
	o.deletes(t)
	o.everyCommand(t)
	// The server got the key in headers only: it is in none of its logs, but on the line that shows it.
	log := o.processes["meetwire"].output.String()
	require.Equal(t, 1, strings.Count(log, o.key), log)
}

func (o *operator) organizations(t *testing.T) {
	t.Helper()
	o.shows(t, "organizations-create", "", "organizations", "create", "acme", "--display-name", "Acme Inc.", "--plan", "enterprise", "--allow-http")
	o.ok(t, "", "organizations", "create", "beta", "--plan", "organization")
	o.shows(t, "organizations-list", "", "organizations", "list")
	o.shows(t, "organizations-update", "", "organizations", "update", "acme", "--client-id", "7", "--events-per-second", "100", "--burst", "200")
	o.shows(t, "organizations-get", "", "organizations", "get")
	o.shows(t, "plans-list", "", "plans", "list")
	require.Contains(t, o.fails(t, 1, "organizations", "create", "acme"), "organization_id: is in use")
	require.Contains(t, o.fails(t, 1, "organizations", "get", "nobody"), "_NOT_FOUND")
	require.Contains(t, o.fails(t, 2, "organizations", "update", "acme"), "nothing to change")
	require.Contains(t, o.fails(t, 1, "organizations", "delete", "beta"), "--yes")
}

func (o *operator) teams(t *testing.T) {
	t.Helper()
	o.shows(t, "teams-create", "", "teams", "create", "sales", "--display-name", "Sales")
	o.ok(t, "", "teams", "create", "support")
	o.shows(t, "teams-list", "", "teams", "list")
	o.shows(t, "teams-update", "", "teams", "update", "support", "--display-name", "Support")
	o.shows(t, "teams-get", "", "teams", "get", "support")
	require.Contains(t, o.fails(t, 1, "teams", "delete", "support"), "--yes")
	require.Equal(t, "deleted organizations/acme/teams/support\n", o.ok(t, "", "teams", "delete", "support", "--yes"))
	require.Contains(t, o.fails(t, 1, "teams", "get", "support"), "_NOT_FOUND")
}

func (o *operator) triggers(t *testing.T) {
	t.Helper()
	folder := t.TempDir()
	schema := filepath.Join(folder, "schema.json")
	require.NoError(t, os.WriteFile(schema, []byte(`{"type":"object","properties":{"id":{"type":"string","description":"Id."}}}`), 0o600))
	o.shows(t, "triggers-create", `{"id":"o1"}`, "triggers", "create", "custom.order.paid", "--display-name", "Order paid",
		"--group", "Orders", "--schema-file", schema, "--sample-file", "-")
	o.shows(t, "triggers-list", "", "triggers", "list")
	o.shows(t, "triggers-update", "", "triggers", "update", "custom.order.paid", "--description", "Somebody has paid.", "--schema-mode", "warn")
	o.shows(t, "triggers-get", "", "triggers", "get", "custom.order.paid")
	o.shows(t, "triggers-sample", "", "triggers", "sample", "custom.order.paid", "--dialect", "ace")
	o.shows(t, "triggers-schema", "", "triggers", "schema", "custom.order.paid")
	require.Contains(t, o.fails(t, 1, "triggers", "delete", "custom.order.paid"), "--yes")
	// One of the platform.
	o.ok(t, `{}`, "triggers", "create", "form.sent", "-O", "-", "--display-name", "Form sent", "--sample-file", "-")
	o.ok(t, "", "triggers", "delete", "form.sent", "-O", "-", "--yes")
}

func (o *operator) keys(t *testing.T) {
	t.Helper()
	o.shows(t, "keys-create", "", "keys", "create", "ci", "--role", "admin")
	listed := o.shows(t, "keys-list", "", "keys", "list")
	id := regexp.MustCompile(`(?m)^([a-z0-9]{16}) `).FindStringSubmatch(listed)[1]
	o.ok(t, "", "keys", "get", id)
	require.Contains(t, o.fails(t, 1, "keys", "revoke", id), "--yes")
	o.ok(t, "", "keys", "revoke", id, "--yes")
	require.Contains(t, o.fails(t, 1, "keys", "get", id), "_NOT_FOUND")
}

// id returns the id of the webhook that a command has shown.
func id(t *testing.T, shown string) string {
	t.Helper()
	match := regexp.MustCompile(`(?m)^webhook +(\S+)$`).FindStringSubmatch(shown)
	require.NotNil(t, match, shown)
	return match[1]
}

func (o *operator) webhooks(t *testing.T) {
	t.Helper()
	first := id(t, o.shows(t, "webhooks-create", "X-Token: sesame\nX-Other: 2\n", "webhooks", "create", "Orders",
		"--url", "https://example.com/orders", "--trigger", "meeting.booked,meeting.canceled", "--team", "sales", "--headers-file", "-",
		"--max-retries", "3", "--first-delay", "2s", "--timeout", "10s", "--alert-email", "ops@example.com", "--metadata", "stage=test"))
	second := o.run(t, "", "webhooks", "create", "Again", "--url", "https://example.com/orders", "--trigger", "meeting.*")
	require.Zero(t, second.code, second.err)
	require.Contains(t, second.err, "warning: organizations/acme/webhooks/"+first)
	o.shows(t, "webhooks-list", "", "webhooks", "list")
	o.shows(t, "webhooks-get", "", "webhooks", "get", first)
	o.shows(t, "webhooks-get-two", "", "webhooks", "get", first, id(t, second.out))
	o.shows(t, "webhooks-check-duplicates", "", "webhooks", "check-duplicates", "https://example.com/orders", "meeting.booked")
	o.shows(t, "webhooks-update", "", "webhooks", "update", first, "--display-name", "Orders 2", "--retries", "none",
		"--filter", `event.data.id != ""`, "--concurrency", "3")
	o.shows(t, "webhooks-preview", "", "webhooks", "preview", first, "--trigger", "custom.order.paid")
	o.ok(t, "", "webhooks", "preview", first)
	require.Regexp(t, `(?m)^error +connect$`, o.ok(t, "", "webhooks", "test", "--url", "http://127.0.0.1:1/"))
	require.Contains(t, o.ok(t, "", "webhooks", "pause", first), "paused")
	require.Contains(t, o.ok(t, "", "webhooks", "resume", first, "--send-missed"), "sending what was missed: organizations/acme/operations/")
	require.Contains(t, o.ok(t, "", "webhooks", "enable", first), "active")
	require.Contains(t, o.ok(t, "", "webhooks", "rotate-secret", first, "--grace", "1h"), "whsec_")
	require.Len(t, strings.Fields(o.ok(t, "", "webhooks", "reveal-secret", first)), 2)
	require.Contains(t, o.fails(t, 1, "webhooks", "activate-secret", first), "--yes")
	o.ok(t, "", "webhooks", "activate-secret", first, "--yes")
	require.Len(t, strings.Fields(o.ok(t, "", "webhooks", "reveal-secret", first)), 1)
	require.NotContains(t, o.ok(t, "", "webhooks", "get", first, "-o", "yaml"), "sesame")
	o.keyPair(t, first)

	// Machines get what the API has, in the same form as JSON and YAML.
	var asJSON, asYAML map[string]any
	require.NoError(t, json.Unmarshal([]byte(o.ok(t, "", "webhooks", "get", first, "-o", "json")), &asJSON))
	require.NoError(t, yaml.Unmarshal([]byte(o.ok(t, "", "webhooks", "get", first, "-o", "yaml")), &asYAML))
	require.Equal(t, asJSON["name"], asYAML["name"])
	require.Equal(t, "Orders 2", asYAML["displayName"])
	require.Len(t, asYAML, len(asJSON))

	operations := o.ok(t, "", "operations", "list")
	match := regexp.MustCompile(`(?m)^organizations/acme/operations/([0-9a-f-]{36}) +resume_webhook`).FindStringSubmatch(operations)
	require.NotNil(t, match, operations)
	require.Contains(t, o.ok(t, "", "operations", "wait", match[1]), "succeeded")
	require.Contains(t, o.ok(t, "", "operations", "get", match[1]), "resume_webhook")
	// It has ended: there is nothing to cancel, and nothing to go on with.
	for _, action := range []string{"cancel", "resume"} {
		result := o.run(t, "", "operations", action, match[1])
		require.NotContains(t, result.out, "running", action)
	}
	require.Contains(t, o.fails(t, 1, "webhooks", "delete", first), "--yes")
	o.ok(t, "", "webhooks", "delete", first, "--yes")
	o.ok(t, "", "webhooks", "delete", id(t, second.out), "--yes")
	require.Equal(t, "nothing found\n", o.ok(t, "", "webhooks", "list"))
}

func (o *operator) refusals(t *testing.T) {
	t.Helper()
	// The API's errors name the field and its limit.
	require.Regexp(t, `target_url: .*\n`, o.fails(t, 1, "webhooks", "create", "x", "--url", "ftp://example.com", "--trigger", "meeting.booked")+"\n")
	for _, args := range [][]string{
		{"webhooks", "list", "--api-key", "mwk_x"},
		{"webhooks", "list", "--no-such-flag"},
		{"webhooks", "nothing"},
		{"webhooks", "list", "-o", "xml"},
		{"up", "--server", "http://127.0.0.1:1"},
		{"webhooks", "list", "--server", "http://user:password@127.0.0.1"},
	} {
		result := o.run(t, "", args...)
		require.NotZero(t, result.code, args)
		require.NotContains(t, result.err, "user:password")
	}
	other := *o
	other.key = "mwk_aaaaaaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	require.Contains(t, other.fails(t, 1, "webhooks", "list"), "UNAUTHENTICATED")
	other.key = ""
	cmd := exec.Command(o.path, "webhooks", "list")
	cmd.Env = []string{"MEETWIRE_SERVER=" + o.rest, "MEETWIRE_ORGANIZATION=acme"}
	output, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 2, cmd.ProcessState.ExitCode())
	require.Contains(t, string(output), "MEETWIRE_API_KEY")

	// From a file, the key does as well.
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte(o.key+"\n"), 0o600))
	cmd = exec.Command(o.path, "webhooks", "list", "--key-file", file)
	cmd.Env = []string{"MEETWIRE_SERVER=" + o.rest, "MEETWIRE_ORGANIZATION=acme"}
	output, err = cmd.CombinedOutput()
	require.NoError(t, err, string(output))
}

func (o *operator) keyset(t *testing.T) {
	t.Helper()
	env := o.ok(t, "", "env")
	keyset := regexp.MustCompile(`(?m)^MEETWIRE_KEYSET=(.*)$`).FindStringSubmatch(env)[1]
	rotated := o.ok(t, keyset, "keyset", "rotate", "-")
	require.Greater(t, len(rotated), len(keyset), "it has one more key")
	require.Less(t, len(o.ok(t, rotated, "keyset", "prune", "-")), len(rotated))
	require.Contains(t, o.run(t, "no keyset", "keyset", "rotate", "-").err, "keyset")
	operation := regexp.MustCompile(`(?m)^operation +(\S+)$`).FindStringSubmatch(o.ok(t, "", "keyset", "reencrypt"))
	require.NotNil(t, operation)
	require.Contains(t, o.ok(t, "", "operations", "wait", operation[1]), "succeeded")
}

func (o *operator) audit(t *testing.T) {
	t.Helper()
	require.Contains(t, o.ok(t, "", "audit", "list", "--action", "delete"), "organizations/acme/webhooks/")
	require.Equal(t, "nothing found\n", o.ok(t, "", "audit", "list", "--since", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
	require.Contains(t, o.ok(t, "", "audit", "list", "-O", "-", "--resource", "organizations/beta"), "organizations/beta")
}

func (o *operator) deletes(t *testing.T) {
	t.Helper()
	require.Contains(t, o.ok(t, "", "triggers", "delete", "custom.order.paid", "--yes"), "deleted")
	// What is left of it is removed later, by an operation.
	operation := regexp.MustCompile(`(?m)^operation +(organizations/beta/operations/\S+)$`).FindStringSubmatch(o.ok(t, "", "organizations", "delete", "beta", "--yes"))
	require.NotNil(t, operation)
	require.Contains(t, o.ok(t, "", "operations", "get", operation[1]), "delete_organization")
	require.Contains(t, o.fails(t, 1, "organizations", "get", "beta"), "_NOT_FOUND")
}

// everyCommand asks the program, as a shell does, which commands there are, and finds that each was run.
func (o *operator) everyCommand(t *testing.T) {
	t.Helper()
	complete := func(words ...string) []string {
		out, err := exec.Command(o.path, append([]string{"__complete", "bash"}, words...)...).Output()
		require.NoError(t, err)
		return strings.Fields(string(out))
	}
	require.Contains(t, o.ok(t, "", "completion", "bash"), "complete -F")
	top := complete("")
	require.Greater(t, len(top), 10)
	for _, name := range top {
		if name == "up" {
			continue // it runs
		}
		require.True(t, o.used[name], name)
		for _, inner := range complete(name, "") {
			if name != "completion" {
				require.True(t, o.used[name+" "+inner], "%s %s", name, inner)
			}
		}
	}
}
