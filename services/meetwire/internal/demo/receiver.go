package demo

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// received is one request that a receiver got.
type received struct {
	Path     string
	ID       string
	Sequence string
	Body     []byte
	At       time.Time
	Status   int
	Verified bool
}

// receiver takes webhooks. It checks their signatures with the few lines below and nothing of Meetwire, as a
// receiver in any language would.
type receiver struct {
	key      []byte
	listener net.Listener
	server   *http.Server
	got      chan received
	logger   *slog.Logger

	mu       sync.Mutex
	failures map[string]int // how often a path still fails
}

// maxBody bounds what the receiver reads.
const maxBody = 1 << 20

func newReceiver(logger *slog.Logger) (*receiver, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make a signing secret: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // listening on loopback does not wait
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	r := &receiver{
		key: key, listener: listener, got: make(chan received, 1024), logger: logger, failures: make(map[string]int),
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second}
	return r, nil
}

// secret is what webhooks sign with.
func (r *receiver) secret() string { return "whsec_" + base64.StdEncoding.EncodeToString(r.key) }

func (r *receiver) url(path string) string { return "http://" + r.listener.Addr().String() + path }

// failFirst makes the next requests to a path fail.
func (r *receiver) failFirst(path string, times int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures[path] = times
}

// serve serves until the context ends.
func (r *receiver) serve(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(r.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve the receiver: %w", err)
	case <-ctx.Done():
	}
	err := r.server.Close()
	if served := <-served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, maxBody))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	verified := r.verify(request.Header, body)
	status := http.StatusOK
	if !verified {
		status = http.StatusUnauthorized
	}
	r.mu.Lock()
	if r.failures[request.URL.Path] > 0 {
		r.failures[request.URL.Path]--
		status = http.StatusInternalServerError
	}
	r.mu.Unlock()
	w.WriteHeader(status)
	select {
	case r.got <- received{
		Path: request.URL.Path, ID: request.Header.Get("webhook-id"), Sequence: request.Header.Get("Meetwire-Event-Sequence"),
		Body: body, At: time.Now(), Status: status, Verified: verified,
	}:
	default:
		r.logger.Warn("the demo's receiver got more than it can show")
	}
}

// verify checks a signature as the Standard Webhooks specification says.
func (r *receiver) verify(header http.Header, body []byte) bool {
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(header.Get("webhook-id") + "." + header.Get("webhook-timestamp") + "."))
	mac.Write(body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for signature := range strings.FieldsSeq(header.Get("webhook-signature")) {
		if hmac.Equal([]byte(signature), []byte(expected)) {
			return true
		}
	}
	return false
}
