package bench

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/webhook"
)

// setupReceiver starts a receiver and returns its client and a function that sends it a webhook.
func setupReceiver(t *testing.T, light bool) (*receiverClient, func(webhook int, m mark, signed bool) int) {
	t.Helper()
	text, err := webhook.NewSecret()
	require.NoError(t, err)
	r, err := newReceiver(text)
	require.NoError(t, err)
	server := httptest.NewServer(r.handler())
	t.Cleanup(server.Close)
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- r.serveLight(listener) }()
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		require.ErrorIs(t, <-served, net.ErrClosed)
	})
	secret, err := webhook.ParseSecret(text)
	require.NoError(t, err)
	signer, err := webhook.NewSigner(secret)
	require.NoError(t, err)
	client := &receiverClient{base: server.URL, light: "http://" + listener.Addr().String(), http: server.Client()}
	url := client.url
	if light {
		url = client.lightURL
	}
	return client, func(index int, m mark, signed bool) int {
		body := newTemplate(minPayload).data(nil, m)
		request, err := http.NewRequest(http.MethodPost, url(index), bytes.NewReader(body))
		require.NoError(t, err)
		now := time.Now()
		request.Header.Set(webhook.HeaderID, "msg_1")
		request.Header.Set(webhook.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
		if signed {
			request.Header.Set(webhook.HeaderSignature, signer.Sign("msg_1", now, body))
		}
		response, err := server.Client().Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
}

func TestReceiverCountsEachDeliveryOnce(t *testing.T) {
	t.Parallel()
	for _, light := range []bool{false, true} {
		t.Run("light: "+strconv.FormatBool(light), func(t *testing.T) {
			t.Parallel()
			requireCountsOnce(t, light)
		})
	}
}

func requireCountsOnce(t *testing.T, light bool) {
	t.Helper()
	client, send := setupReceiver(t, light)
	number, err := client.begin(t.Context(), 2, 2, false)
	require.NoError(t, err)
	published := time.Now().Add(-time.Second)
	for _, delivery := range []struct{ webhook, event int }{{0, 0}, {1, 0}, {0, 1}, {0, 0}} {
		require.Equal(t, 200, send(delivery.webhook, mark{number, delivery.event, published}, false))
	}
	require.Equal(t, 200, send(0, mark{number + 1, 0, published}, false), "of another phase")
	_, err = client.all(t.Context(), 4, time.Millisecond)
	require.ErrorIs(t, err, errMissing)

	before := time.Now()
	send(1, mark{number, 1, published}, false)
	got, err := client.all(t.Context(), 4, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 4, got.Arrived)
	require.Equal(t, 1, got.Duplicates)
	require.Zero(t, got.Wrong)
	require.Len(t, got.Latencies, 4)
	require.GreaterOrEqual(t, percentile(got.Latencies, 0), time.Second)
	require.WithinRange(t, got.Last, before, time.Now())
}

func TestLightReceiverVerifiesOverAConnectionThatItHas(t *testing.T) {
	t.Parallel()
	client, send := setupReceiver(t, true)
	for _, verify := range []bool{false, true} {
		phase, err := client.begin(t.Context(), 1, 1, verify)
		require.NoError(t, err)
		require.Equal(t, 200, send(0, mark{phase, 0, time.Now()}, verify))
		got, err := client.all(t.Context(), 1, time.Minute)
		require.NoError(t, err)
		require.Equal(t, 1, got.Arrived)
	}
}

func TestReceiverSeesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]func(send func(int, mark, bool) int, phase int){
		"no signature":        func(send func(int, mark, bool) int, phase int) { send(0, mark{phase, 0, time.Now()}, false) },
		"no signature, light": func(send func(int, mark, bool) int, phase int) { send(0, mark{phase, 0, time.Now()}, false) },
		"no such event":       func(send func(int, mark, bool) int, phase int) { send(0, mark{phase, 1, time.Now()}, true) },
		"no such webhook":     func(send func(int, mark, bool) int, phase int) { send(1, mark{phase, 0, time.Now()}, true) },
		"no webhook, light":   func(send func(int, mark, bool) int, phase int) { send(-1, mark{phase, 0, time.Now()}, true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, send := setupReceiver(t, strings.HasSuffix(name, "light"))
			phase, err := client.begin(t.Context(), 1, 1, true)
			require.NoError(t, err)
			wrong(send, phase)
			got, err := client.all(t.Context(), 1, time.Millisecond)
			require.ErrorIs(t, err, errAnswer)
			require.Equal(t, 1, got.Wrong)
			require.Zero(t, got.Arrived)
			send(0, mark{phase, 0, time.Now()}, true)
			got, err = client.result(t.Context(), time.Minute)
			require.NoError(t, err)
			require.Equal(t, 1, got.Arrived)
		})
	}
}
