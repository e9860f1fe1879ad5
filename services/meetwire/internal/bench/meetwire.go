package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
)

// services are the programs that Meetwire consists of.
func services() []string { return []string{"subscription", "ingest", "delivery", "gateway"} }

// build builds the services' programs, unless a folder has them, and returns the folder.
func (e *environment) build(ctx context.Context) (string, error) {
	if e.config.BinDir != "" {
		return e.config.BinDir, nil
	}
	e.progress("building the services")
	folder := filepath.Join(e.folder, "bin") + string(filepath.Separator)
	args := []string{"build", "-o", folder}
	for _, service := range services() {
		args = append(args, "github.com/meetwire/meetwire/services/"+service+"/cmd/"+service)
	}
	output, err := exec.CommandContext(ctx, "go", args...).CombinedOutput() //nolint:gosec // G204: nothing from outside
	if err != nil {
		return "", fmt.Errorf("build the services (in a checkout of Meetwire, or give --bin-dir): %w: %s", err, bytes.TrimSpace(output))
	}
	return folder, nil
}

// startMeetwire starts lines b and c: a nats-server, a database, the four services as processes of their own, and
// webhooks that all want the event.
func startMeetwire(ctx context.Context, e *environment, l line, folder string, f *fleet) (*target, error) {
	api := &restClient{http: &http.Client{Timeout: 5 * time.Second}}
	t, err := startUnconfigured(ctx, e, api, folder, f)
	if err != nil {
		return t, err
	}
	return t, api.configure(ctx, e, l.webhooks, l.requests)
}

// startUnconfigured starts a nats-server, a database and the four services.
func startUnconfigured(ctx context.Context, e *environment, api *restClient, folder string, f *fleet) (*target, error) {
	t, env, _, err := prepare(ctx, e, api, folder, f)
	if err != nil {
		return t, err
	}
	t.measured, err = e.startServices(ctx, env, api, f)
	return t, err
}

// prepare starts a nats-server and makes an empty database, and returns what the services are to be started with and
// the address of the database.
func prepare(ctx context.Context, e *environment, api *restClient, folder string, f *fleet) (*target, map[string][]string, secret.String, error) {
	var none secret.String
	t, err := newTarget(ctx, e, folder, f)
	if err != nil {
		return t, nil, none, err
	}
	database := "bench_" + filepath.Base(folder)
	address, err := e.postgres.create(ctx, database)
	if err != nil {
		return t, nil, none, err
	}
	t.close = append(t.close, func(ctx context.Context) error { return e.postgres.drop(ctx, database) })
	if _, api.key, _, err = rpc.NewKey(); err != nil {
		return t, nil, none, err
	}
	if t.records, err = openRecords(ctx, address); err != nil {
		return t, nil, none, err
	}
	env, err := settings(ctx, t.natsURL, address, api)
	return t, env, address, err
}

// startServices starts the four services and waits until they are ready.
func (e *environment) startServices(ctx context.Context, env map[string][]string, api *restClient, f *fleet) ([]*process, error) {
	var started []*process
	for _, service := range services() {
		p, err := f.start(service, filepath.Join(e.programs, service), nil, env[service])
		if err != nil {
			return started, err
		}
		started = append(started, p)
	}
	return started, api.ready(ctx, e.config.Patience)
}

// settings are the environment variables of each service. They listen on free ports of loopback.
func settings(ctx context.Context, natsURL string, database secret.String, api *restClient) (map[string][]string, error) {
	keyset, err := seal.GenerateKeyset()
	if err != nil {
		return nil, err
	}
	token := make([]byte, 32)
	if _, err := rand.Read(token); err != nil {
		return nil, fmt.Errorf("make the service token: %w", err)
	}
	addresses, err := freeAddresses(ctx, len(services()))
	if err != nil {
		return nil, err
	}
	gateway := addresses[3]
	api.base = "http://" + gateway
	common := []string{
		"MEETWIRE_SERVICE_TOKEN=" + base64.RawURLEncoding.EncodeToString(token),
		"MEETWIRE_KEYSET=" + keyset.Reveal(),
		"MEETWIRE_OPERATOR_KEY=" + api.key.Reveal(),
		"MEETWIRE_DATABASE_URL=" + database.Reveal(),
		"MEETWIRE_NATS_URL=" + natsURL,
		"MEETWIRE_SUBSCRIPTION_ADDR=" + addresses[0],
		"MEETWIRE_INGEST_ADDR=" + addresses[1],
		"MEETWIRE_DELIVERY_ADDR=" + addresses[2],
		"MEETWIRE_HTTP_ADDR=" + gateway,
		"MEETWIRE_ALLOWED_TARGETS=127.0.0.0/8",
		"MEETWIRE_LOG_LEVEL=warn",
	}
	settings := make(map[string][]string)
	for i, service := range services() {
		settings[service] = append([]string{"MEETWIRE_GRPC_ADDR=" + addresses[i]}, common...)
	}
	return settings, nil
}

// freeAddresses returns addresses of loopback that nobody listens on.
func freeAddresses(ctx context.Context, n int) (addresses []string, err error) {
	var config net.ListenConfig
	for range n {
		listener, listenErr := config.Listen(ctx, "tcp", "127.0.0.1:0")
		if listenErr != nil {
			return nil, fmt.Errorf("look for a free port: %w", listenErr)
		}
		// Held until all are found, or one could be found twice.
		defer func() { err = errors.Join(err, listener.Close()) }()
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}

// restClient calls Meetwire as an operator.
type restClient struct {
	base string
	key  secret.String
	http *http.Client
}

// Waits between looks at whether Meetwire is ready.
const (
	minReadyWait = 20 * time.Millisecond
	maxReadyWait = 100 * time.Millisecond
)

// ready waits until all services are.
func (c *restClient) ready(ctx context.Context, within time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler) // not being ready yet is what is expected here
	err := lifecycle.Retry(limited, quiet, "wait for Meetwire", minReadyWait, maxReadyWait, func(ctx context.Context) error {
		return c.call(ctx, http.MethodGet, "/readyz", nil)
	})
	if err != nil {
		return fmt.Errorf("wait for Meetwire: %w", err)
	}
	return nil
}

// configure makes an organization and its webhooks, each with so many requests at once.
func (c *restClient) configure(ctx context.Context, e *environment, webhooks, requests int) error {
	if err := c.createOrganization(ctx, organization); err != nil {
		return err
	}
	for i := range webhooks {
		err := c.call(ctx, http.MethodPost, "/v1/organizations/"+organization+"/webhooks", map[string]any{
			"displayName": "Webhook " + strconv.Itoa(i), "targetUrl": e.receiver.url(i),
			"triggers": []string{trigger}, "secret": e.secret, "maxConcurrency": requests,
		})
		if err != nil {
			return fmt.Errorf("create webhook %d: %w", i, err)
		}
	}
	return nil
}

func (c *restClient) createOrganization(ctx context.Context, id string) error {
	err := c.call(ctx, http.MethodPost, "/v1/organizations?organization_id="+id, map[string]any{"displayName": "Bench", "allowHttp": true})
	if err != nil {
		return fmt.Errorf("create an organization: %w", err)
	}
	return nil
}

// Bounds of answers, and of what is shown of one that is not a success.
const (
	maxAnswer = 16 << 20
	maxShown  = 1 << 10
)

func (c *restClient) call(ctx context.Context, method, path string, body any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode a request: %w", err)
	}
	_, err = c.do(ctx, method, path, bytes.NewReader(encoded))
	return err
}

func (c *restClient) get(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, http.NoBody)
}

func (c *restClient) do(ctx context.Context, method, path string, body io.Reader) (answer []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+c.key.Reveal())
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if answer, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer)); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s: %s", errAnswer, response.Status, answer[:min(len(answer), maxShown)])
	}
	return answer, nil
}
