package e2e_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// testSeveralLiveSecrets rotates from a symmetric key to a key pair and on to another symmetric key. Receivers that
// know one of the three accept every delivery, until the newest is activated.
func testSeveralLiveSecrets(t *testing.T, i *installation) {
	o := i.tenant(t)
	first, _ := symmetric(t, o)
	private, public := keyPair(t, o)
	last, _ := symmetric(t, o)
	receivers := []*endpoint{node("standard.js")(t, first), node("asymmetric.js")(t, public), goStandard(t, last)}
	hooks := make([]*hook, len(receivers))
	for n, e := range receivers {
		hooks[n] = o.dialectWebhook(t, "standard", e.url, first, "", "meeting.booked")
	}
	o.settle(t)
	check := func(accepting ...bool) {
		t.Helper()
		id := uuid.NewString()
		o.publish(t, "meeting.booked", receiversSource, id)
		for n, h := range hooks {
			if !accepting[n] {
				o.rejected(t, receivers[n], h, id)
				continue
			}
			o.outcome(t, h, id, "STATE_SUCCEEDED", 204)
			require.True(t, receivers[n].saw(t, o.deliveryOf(h, id)).Accepted)
		}
	}
	check(true, false, false)
	for n, secret := range []string{private, last} {
		for _, h := range hooks {
			o.rotate(t, h, secret)
		}
		o.settle(t)
		check(true, true, n == 1)
	}
	for _, h := range hooks {
		o.do(t, "POST", "/v1/"+h.Name+":activateSecret", "{}", nil)
	}
	o.settle(t)
	check(false, false, true)
}

// testOneSignatureDuringRotation holds that a dialect with one signature signs with the secret that its receiver has,
// until the new one is activated.
func testOneSignatureDuringRotation(t *testing.T, i *installation) {
	o := i.tenant(t)
	before, _ := text(t, o)
	after, _ := text(t, o)
	behind, ahead := php("harmonizely.php")(t, before), php("harmonizely.php")(t, after)
	toOld := o.dialectWebhook(t, "harmonizely", behind.url, before, "", "meeting.booked")
	toNew := o.dialectWebhook(t, "harmonizely", ahead.url, before, "", "meeting.booked")
	o.rotate(t, toOld, after)
	o.rotate(t, toNew, after)
	o.settle(t)
	id := uuid.NewString()
	o.publish(t, "meeting.booked", receiversSource, id)
	o.outcome(t, toOld, id, "STATE_SUCCEEDED", 204)
	o.rejected(t, ahead, toNew, id)

	for _, h := range []*hook{toOld, toNew} {
		o.do(t, "POST", "/v1/"+h.Name+":activateSecret", "{}", nil)
	}
	o.settle(t)
	id = uuid.NewString()
	o.publish(t, "meeting.booked", receiversSource, id)
	o.outcome(t, toNew, id, "STATE_SUCCEEDED", 204)
	o.rejected(t, behind, toOld, id)
}

func (o *tenant) rotate(t *testing.T, h *hook, secret string) {
	t.Helper()
	var rotated hook
	o.do(t, "POST", "/v1/"+h.Name+":rotateSecret", fmt.Sprintf(`{"secret":%q,"gracePeriod":"3600s"}`, secret), &rotated)
	require.Equal(t, secret, rotated.Secret)
}

// testWithoutPrivateKey holds that a receiver that was given no key gets version 0 and an empty signature.
func testWithoutPrivateKey(t *testing.T, i *installation) {
	o := i.tenant(t)
	e := node("axcelerate.js")(t, "")
	secret, _ := text(t, o)
	unsigned := o.dialectWebhook(t, "axcelerate", e.url, "", "", "contact.updated")
	signed := o.dialectWebhook(t, "axcelerate", e.url, secret, "", "contact.updated")
	o.settle(t)
	id := uuid.NewString()
	o.publish(t, "contact.updated", receiversSource, id)
	o.outcome(t, unsigned, id, "STATE_SUCCEEDED", 204)
	require.Equal(t, "contact.updated", e.saw(t, o.deliveryOf(unsigned, id)).Event)
	o.rejected(t, e, signed, id)
}
