package bus_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/secret"
)

func TestOnlyWhoKnowsTheTokenProvesAnOperationalEvent(t *testing.T) {
	t.Parallel()
	token := secret.New("service-token-of-the-tests-0123456789")
	const id = "acme:/s:1"
	mac := hmac.New(sha256.New, []byte("service-token-of-the-tests-0123456789"))
	mac.Write([]byte(id))
	proof := bus.OperationalToken(token, id)
	require.Equal(t, fmt.Sprintf("%x", mac.Sum(nil)), proof)

	with := func(proofs ...string) nats.Header { return nats.Header{bus.HeaderOperational: proofs} }
	require.True(t, bus.CheckOperational(token, with(proof), id))
	for name, header := range map[string]nats.Header{
		"none": nil, "no proof": with(), "an empty one": with(""), "two": with(proof, proof), "upper case": with(strings.ToUpper(proof)),
		"a part": with(proof[:63]), "of another event": with(bus.OperationalToken(token, "acme:/s:2")),
		"of another token": with(bus.OperationalToken(secret.New("x"), id)),
	} {
		require.False(t, bus.CheckOperational(token, header, id), name)
	}
	require.False(t, bus.CheckOperational(secret.String{}, with(bus.OperationalToken(secret.String{}, id)), id), "nobody has a token")
}
