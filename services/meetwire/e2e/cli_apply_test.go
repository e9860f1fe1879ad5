package e2e_test

import (
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const hooksFile = `# Webhooks of this test.
id: orders
displayName: Orders
targetUrl: https://EXAMPLE.com/orders
triggers: [meeting.booked, meeting.canceled]
headers:
  - name: X-Token
    value: sesame
retryPolicy: {maxRetries: 3, firstDelay: 2s}
metadata: {team: sales}
---
id: backup
displayName: Backup
description: 123
targetUrl: https://example.com/backup
triggers: ["meeting.*"]
secret: whsec_TWVldHdpcmUtZXhhbXBsZS1rZXktMjQtYg==
timeout: 10s
status: STATUS_PAUSED
`

func (o *operator) applies(t *testing.T) {
	t.Helper()
	apply := func(file string, more ...string) string {
		t.Helper()
		out := o.ok(t, file, append([]string{"webhooks", "apply", "-f", "-"}, more...)...)
		require.NotContains(t, out, "sesame", "values of headers are not shown")
		require.NotContains(t, out, "whsec_", "secrets are not shown")
		return out
	}
	// A webhook that no file made is none of its business.
	own := id(t, o.ok(t, "", "webhooks", "create", "Own", "--url", "https://example.com/own", "--trigger", "meeting.booked"))

	o.golden(t, "apply-dry-run", apply(hooksFile, "--dry-run"))
	require.NotContains(t, o.ok(t, "", "webhooks", "list"), "Orders")
	o.golden(t, "apply-create", apply(hooksFile))
	o.golden(t, "apply-unchanged", apply(hooksFile))

	// What the file does not name is left alone, also within a policy.
	orders := o.applied(t, "orders")
	o.ok(t, "", "webhooks", "update", orders, "--description", "By hand.", "--give-up-age", "24h")
	require.Contains(t, apply(hooksFile), "2 unchanged")
	changed := strings.ReplaceAll(strings.ReplaceAll(hooksFile, "maxRetries: 3", "maxRetries: 5"), "name: X-Token", "name: X-Key")
	o.golden(t, "apply-update", apply(changed))
	shown := o.ok(t, "", "webhooks", "get", orders, "-o", "json")
	require.Contains(t, shown, "By hand.")
	require.Contains(t, shown, `"giveUpAge": "86400s"`)
	require.Contains(t, shown, `"maxRetries": 5`)
	require.Contains(t, apply(changed), "0 updated")
	require.Contains(t, apply(changed, "--send-headers"), "1 updated")
	o.golden(t, "apply-json", apply(changed, "-o", "json"))

	// When one is wrong, nothing is done.
	wrong := strings.Replace(changed, "displayName: Orders", "displayName: Other", 1) + "---\nid: bad\ndisplayName: Bad\ntargetUrl: ftp://example.com\ntriggers: [meeting.booked]\n"
	result := o.run(t, wrong, "webhooks", "apply", "-f", "-")
	require.Equal(t, 1, result.code)
	require.Contains(t, result.err, "target_url")
	require.Contains(t, result.err, "-: line 21: bad:")
	require.NotContains(t, o.ok(t, "", "webhooks", "list"), "Other")

	only, _, _ := strings.Cut(changed, "---")
	require.Contains(t, apply(only), "0 deleted")
	result = o.run(t, only, "webhooks", "apply", "-f", "-", "--prune")
	require.Equal(t, 1, result.code)
	require.Contains(t, result.err, "--yes")
	o.golden(t, "apply-prune", apply(only, "--prune", "--yes"))
	require.NotContains(t, o.ok(t, "", "webhooks", "list"), "Backup")
	require.Contains(t, apply("# nothing\n", "--prune", "--yes"), "1 deleted")
	o.ok(t, "", "webhooks", "get", own)
	o.ok(t, "", "webhooks", "delete", own, "--yes")
	o.notInArguments(t)
}

// applied returns the id of a webhook that a file has made.
func (o *operator) applied(t *testing.T, name string) string {
	t.Helper()
	for _, line := range strings.Split(o.ok(t, hooksFile, "webhooks", "apply", "-f", "-", "--dry-run"), "\n") {
		if rest, found := strings.CutPrefix(line, "= unchanged "+name+" (organizations/acme/webhooks/"); found {
			return strings.TrimSuffix(rest, ")")
		}
	}
	require.Fail(t, "not applied", name)
	return ""
}

// notInArguments looks at a command that runs as others on the machine can.
func (o *operator) notInArguments(t *testing.T) {
	t.Helper()
	cmd := exec.Command(o.path, "webhooks", "apply", "-f", "-")
	cmd.Env = o.environment()
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	arguments, err := exec.Command("ps", "-o", "args=", "-p", strconv.Itoa(cmd.Process.Pid)).Output()
	require.NoError(t, err)
	require.Contains(t, string(arguments), "webhooks apply")
	require.NotContains(t, string(arguments), o.key)
	_, err = io.WriteString(stdin, "# nothing\n")
	require.NoError(t, err)
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait())
}
