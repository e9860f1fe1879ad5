package plans_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/plans"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestShippedPlans(t *testing.T) {
	t.Parallel()
	loaded, err := plans.Load("", "")
	require.NoError(t, err)
	require.Equal(t, []core.Plan{
		{Name: "enterprise", WebhooksAvailable: true},
		{Name: "organization", WebhooksAvailable: true, MaxPerTrigger: 20},
		{Name: "startup"},
	}, loaded.All())
	require.Equal(t, "enterprise", loaded.Default().Name)
}

func TestPlansComeFromAFileOrFromTheValueItself(t *testing.T) {
	t.Parallel()
	want := []core.Plan{{
		Name: "team", WebhooksAvailable: true, MaxPerTrigger: 3, MaxWebhooks: 10, RecordRetention: 30 * 24 * time.Hour,
	}}
	const asJSON = ` {"plans": [{"name": "team", "webhooks_available": true, "max_webhooks_per_trigger": 3, "max_webhooks": 10, "record_retention": "720h"}]}`
	const asYAML = "plans:\n- name: team\n  webhooks_available: true\n  max_webhooks_per_trigger: 3\n  max_webhooks: 10\n  record_retention: 720h\n"
	folder := t.TempDir()
	for name, text := range map[string]string{"plans.yaml": asYAML, "plans.json": asJSON} {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		loaded, err := plans.Load(path, "team")
		require.NoError(t, err, name)
		require.Equal(t, want, loaded.All(), name)
	}
	loaded, err := plans.Load(asJSON, "team")
	require.NoError(t, err)
	require.Equal(t, want, loaded.All())
}

func TestPlansThatAreWrong(t *testing.T) {
	t.Parallel()
	one := func(members string) string {
		return `{"plans": [{"name": "a", "webhooks_available": true` + members + `}]}`
	}
	for source, says := range map[string]string{
		"/nowhere/plans.yaml":      "/nowhere/plans.yaml",
		`{`:                        "read the plans",
		`{}`:                       "from 1 to 100",
		`{"plans": []}`:            "from 1 to 100",
		`{"plan": []}`:             "plan",
		`{"plans": [{}]}`:          "plans[0].webhooks_available: is required",
		`{"plans": [{"name": 1}]}`: "plans[0].webhooks_available",
		`{"plans": [{"name": "A b", "webhooks_available": true}]}`: "plans[0].name: must be 1 to 63",
		one(`, "price": 3`):                                                    "price",
		one(`, "max_webhooks": -1`):                                            "plans[0].max_webhooks: must be from 1 to 1000000",
		one(`, "max_webhooks_per_trigger": 1000001`):                           "plans[0].max_webhooks_per_trigger",
		one(`, "max_webhooks": "many"`):                                        "many",
		one(`, "record_retention": "59m"`):                                     "plans[0].record_retention: must be from 1h0m0s",
		one(`, "record_retention": "30d"`):                                     "30d",
		one(`}, {"name": "a", "webhooks_available": true`):                     `plans[1].name: "a" is there already`,
		one(`}, {"name": "b", "webhooks_available": false, "max_webhooks": 1`): "plans[1].max_webhooks: must not be set",
		one("") + "\n---\n" + one(""):                                          "one document",
		one(""):                                                                `the default plan "enterprise" must be one of the plans: a`,
		one(strings.Repeat(`}, {"name": "x"`, 100)):                            "there are 101",
	} {
		_, err := plans.Load(source, "")
		require.ErrorContains(t, err, says, source)
	}
}
