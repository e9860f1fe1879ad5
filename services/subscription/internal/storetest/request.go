package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// maker is a method that takes request ids. It makes something and returns its id; the same n is the same id where
// callers choose it.
type maker struct {
	name string
	make func(ctx context.Context, s *suite, organization string, n int, r core.Request) (id string, err error)
}

func makers() []maker {
	return []maker{
		{"organization", func(ctx context.Context, s *suite, prefix string, n int, r core.Request) (string, error) {
			o := s.newOrganization(fmt.Sprintf("%s-%d", prefix, n))
			return o.ID, s.InsertOrganization(ctx, o, r)
		}},
		{"team", func(ctx context.Context, s *suite, organization string, n int, r core.Request) (string, error) {
			v := s.newTeam(organization, fmt.Sprintf("team-%d", n))
			return v.ID, s.InsertTeam(ctx, v, r)
		}},
		{"trigger", func(ctx context.Context, s *suite, organization string, n int, r core.Request) (string, error) {
			v := s.newTrigger(organization, fmt.Sprintf("custom.t%d", n))
			return v.ID, s.InsertTrigger(ctx, v, r, false)
		}},
		{"key", func(ctx context.Context, s *suite, organization string, _ int, r core.Request) (string, error) {
			v := s.newKey(organization)
			return v.ID, s.InsertAPIKey(ctx, v, r)
		}},
		{"webhook", func(ctx context.Context, s *suite, organization string, _ int, r core.Request) (string, error) {
			v := s.newWebhook(organization)
			_, err := s.InsertWebhook(ctx, organization, v.ID, r, makeWebhook(v))
			return v.ID, err
		}},
	}
}

// requireMade requires that a request was made before, and what it has made.
func requireMade(t *testing.T, resource string, err error, about ...any) {
	t.Helper()
	var made *core.RepeatedRequestError
	require.ErrorAs(t, err, &made, about...)
	require.Equal(t, resource, made.Resource, about...)
}

func checkRequests(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme", "beta")
	for _, m := range makers() {
		r := request("make " + m.name)
		id, err := m.make(ctx, s, "acme", 1, r)
		require.NoError(t, err, m.name)
		s.leaves(t, traces{}, func() {
			_, err = m.make(ctx, s, "acme", 1, r)
			requireMade(t, id, err, m.name)
			_, err = m.make(ctx, s, "acme", 2, r)
			requireMade(t, id, err, m.name)

			other := r
			other.Fingerprint[7]++
			_, err = m.make(ctx, s, "acme", 1, other)
			requireKind(t, fault.InvalidArgument, err, m.name)
			other = r
			other.Method = "another"
			_, err = m.make(ctx, s, "acme", 1, other)
			requireKind(t, fault.InvalidArgument, err, m.name)
		}, m.name)
		if m.name != "organization" { // whose requests are the installation's
			_, err = m.make(ctx, s, "beta", 1, r)
			require.NoError(t, err, m.name)
		}
		// What fails uses nothing up.
		if m.name != "key" && m.name != "webhook" {
			r = request("make " + m.name)
			_, err = m.make(ctx, s, "acme", 1, r)
			requireKind(t, fault.AlreadyExists, err, m.name)
			_, err = m.make(ctx, s, "acme", 3, r)
			require.NoError(t, err, m.name)
		}
	}
}

func checkRequestsAtOnce(t *testing.T, s *suite) {
	const callers = 10
	s.tenants(t, "acme")
	for _, m := range makers() {
		r := request("make " + m.name)
		ids := make([]string, callers)
		var errs []error
		left := s.watch(t, func() {
			errs = together(callers, func(i int) (err error) {
				ids[i], err = m.make(t.Context(), s, "acme", 1, r)
				return err
			})
		})
		require.Len(t, left.audit, 1, m.name)
		made := ""
		for i, err := range errs {
			if err == nil {
				require.Empty(t, made, "%s was made twice", m.name)
				made = ids[i]
			}
		}
		require.NotEmpty(t, made, m.name)
		for _, err := range errs {
			if err != nil {
				requireMade(t, made, err, m.name)
			}
		}
	}
}

// checkRequestRace checks that one request id in different calls at once is a mistake of the caller in all but one.
func checkRequestRace(t *testing.T, s *suite) {
	s.tenants(t, "acme")
	for round := range 10 {
		r := request("")
		all := makers()[1:]
		errs := together(len(all), func(i int) error {
			own := r
			own.Method = all[i].name
			_, err := all[i].make(t.Context(), s, "acme", round, own)
			return err
		})
		made := 0
		for i, err := range errs {
			if err == nil {
				made++
				continue
			}
			requireKind(t, fault.InvalidArgument, err, all[i].name)
		}
		require.Equal(t, 1, made)
	}
}

func checkTrim(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme")
	r := request("m")
	for _, hours := range []time.Duration{0, core.RequestRetention - 1} {
		s.clock.advance(hours * time.Hour)
		removed, err := s.TrimTrail(ctx)
		require.NoError(t, err)
		require.Zero(t, removed)
		err = s.InsertTeam(ctx, s.newTeam("acme", "t"), r)
		var made *core.RepeatedRequestError
		require.True(t, err == nil || errors.As(err, &made), "%v", err)
	}
	s.clock.advance(2 * time.Hour)
	removed, err := s.TrimTrail(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, removed)
	require.NoError(t, s.InsertTeam(ctx, s.newTeam("acme", "other"), r))
}
