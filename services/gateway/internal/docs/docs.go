// Package docs owns the page that documents the triggers of the platform for people who write receivers. Whoever can
// reach the gateway can read it: it shows what the public catalogue of the subscription service says, and facts about
// dialects. It knows of no organization, and never sees a key.
package docs

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/meetwire/meetwire/pkg/dialect"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// Path is where the page is. The parameter `dialect` says for which dialect it is.
const Path = "/docs/webhooks"

const (
	// freshFor is how long a page that was made is shown again.
	freshFor = time.Minute
	// fetchTimeout bounds the call to the subscription service.
	fetchTimeout = 5 * time.Second
)

// Catalogue is where the triggers come from.
type Catalogue interface {
	// ListCatalogue returns the triggers of the platform in a dialect. Any error means that the page cannot be made.
	ListCatalogue(ctx context.Context, dialect string) (*subscriptionv1.ListCatalogueResponse, error)
}

// client is the Catalogue of a subscription service.
type client struct {
	service subscriptionv1.TriggerServiceClient
}

// Of returns the catalogue of a subscription service.
func Of(service subscriptionv1.TriggerServiceClient) Catalogue { return client{service} }

func (c client) ListCatalogue(ctx context.Context, dialect string) (*subscriptionv1.ListCatalogueResponse, error) {
	answer, err := c.service.ListCatalogue(ctx, &subscriptionv1.ListCatalogueRequest{Dialect: dialect})
	if err != nil {
		return nil, fmt.Errorf("list the catalogue: %w", err)
	}
	return answer, nil
}

var (
	//go:embed page.html.tmpl
	pageText string
	//go:embed page.css
	pageStyle string
)

// Handler serves the page.
type Handler struct {
	catalogue Catalogue
	now       func() time.Time
	logger    *slog.Logger
	template  *template.Template
	policy    string // content security policy

	making singleflight.Group
	mu     sync.Mutex
	pages  map[string]page // by dialect
}

// page is one that was made.
type page struct {
	body []byte
	made time.Time
}

// New makes the handler.
func New(catalogue Catalogue, now func() time.Time, logger *slog.Logger) (*Handler, error) {
	parsed, err := template.New("page").Option("missingkey=error").Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("parse the page's template: %w", err)
	}
	sum := sha256.Sum256([]byte(pageStyle))
	return &Handler{
		catalogue: catalogue, now: now, logger: logger, template: parsed, pages: make(map[string]page),
		// Nothing is loaded, run, framed or sent: only the page's own style applies.
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}, nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("dialect")
	if name == "" {
		name = dialect.Standard
	}
	if !slices.Contains(dialect.Names(), name) {
		h.problem(w, r, http.StatusNotFound, "There is no such dialect", "Choose one of those above.")
		return
	}
	body, err := h.page(r.Context(), name)
	if err != nil {
		h.logger.WarnContext(r.Context(), "cannot show the catalogue", "dialect", name, "error", err)
		w.Header().Set("Retry-After", "5")
		h.problem(w, r, http.StatusServiceUnavailable, "The catalogue cannot be shown at the moment", "Try again in a few seconds.")
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=60")
	h.write(w, r, http.StatusOK, body)
}

// page returns the page of a dialect. Requests that come while it is made wait for it together.
func (h *Handler) page(ctx context.Context, name string) ([]byte, error) {
	if body := h.fresh(name); body != nil {
		return body, nil
	}
	made, err, _ := h.making.Do(name, func() (any, error) {
		if body := h.fresh(name); body != nil { // it was made since we looked
			return body, nil
		}
		// Whoever asked first may go away: others wait for the same.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		answer, err := h.catalogue.ListCatalogue(ctx, name)
		if err != nil {
			return nil, err
		}
		body, err := h.render(viewOf(name, answer))
		if err != nil {
			return nil, err
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.pages[name] = page{body: body, made: h.now()}
		return body, nil
	})
	if err != nil {
		return nil, err
	}
	return made.([]byte), nil // nothing else is ever returned
}

// fresh returns the page of a dialect that was made a moment ago; nil when there is none.
func (h *Handler) fresh(name string) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.pages[name]
	if h.now().Sub(known.made) >= freshFor {
		return nil
	}
	return known.body
}

// problem writes a page that says why there is none.
func (h *Handler) problem(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	body, err := h.render(&view{Dialects: links(""), Problem: title, Advice: text})
	if err != nil {
		h.logger.ErrorContext(r.Context(), "make a page", "error", err)
		status, body = http.StatusInternalServerError, nil
	}
	w.Header().Set("Cache-Control", "no-store")
	h.write(w, r, status, body)
}

func (h *Handler) render(v *view) ([]byte, error) {
	v.Style = template.CSS(pageStyle) //nolint:gosec // G203: it is a file of this package
	var b bytes.Buffer
	if err := h.template.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("make the page: %w", err)
	}
	return b.Bytes(), nil
}

func (h *Handler) write(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	for name, value := range map[string]string{
		"Content-Type":                 "text/html; charset=utf-8",
		"Content-Security-Policy":      h.policy,
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Permissions-Policy":           strings.Join([]string{"camera=()", "geolocation=()", "microphone=()"}, ", "),
	} {
		w.Header().Set(name, value)
	}
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil { //nolint:gosec // G705: html/template has escaped it
		h.logger.DebugContext(r.Context(), "client went away", "error", err)
	}
}
