package subscription_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

// poll is how often a test looks for something it cannot wait for.
const poll = 5 * time.Millisecond

// stream is one call of WatchConfig.
type stream struct {
	grpc.ServerStreamingClient[configv1.WatchConfigResponse]
	cancel context.CancelFunc
}

// watch begins to follow after a revision.
func (i *instance) watch(t *testing.T, after int64) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	s, err := i.as(t, i.serviceToken).config.WatchConfig(ctx, &configv1.WatchConfigRequest{AfterRevision: after})
	require.NoError(t, err)
	return &stream{ServerStreamingClient: s, cancel: cancel}
}

// next returns the next message.
func (s *stream) next(t *testing.T) *configv1.WatchConfigResponse {
	t.Helper()
	message, err := s.Recv()
	require.NoError(t, err)
	return message
}

// change returns the next message that is no heartbeat, which must be a change.
func (s *stream) change(t *testing.T) *configv1.Change {
	t.Helper()
	for {
		message := s.next(t)
		if message.GetHeartbeat() != nil {
			continue
		}
		require.NotNil(t, message.GetChange(), "%v", message)
		return message.GetChange()
	}
}

// snapshot returns the pages of the snapshot that the stream begins with.
func (s *stream) snapshot(t *testing.T) []*configv1.SnapshotPage {
	t.Helper()
	pages, err := s.pages()
	require.NoError(t, err)
	return pages
}

// pages is snapshot for use in goroutines.
func (s *stream) pages() ([]*configv1.SnapshotPage, error) {
	var pages []*configv1.SnapshotPage
	for {
		message, err := s.Recv()
		if err != nil {
			return nil, err
		}
		page := message.GetSnapshotPage()
		if page == nil {
			return nil, fmt.Errorf("%v comes between the pages", message)
		}
		pages = append(pages, page)
		if page.GetRevision() != pages[0].GetRevision() {
			return nil, fmt.Errorf("page of revision %d among those of %d", page.GetRevision(), pages[0].GetRevision())
		}
		if page.GetLast() {
			return pages, nil
		}
	}
}

// mirror is what somebody knows who follows the feed: resources by kind and id, as text.
type mirror struct {
	mu        sync.Mutex
	revision  int64
	resources map[string]string
	snapshots int
}

// apply takes in one message and checks that it is allowed at this place.
func (m *mirror) apply(message *configv1.WatchConfigResponse, pending *map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch got := message.GetMessage().(type) {
	case *configv1.WatchConfigResponse_SnapshotPage:
		if *pending == nil {
			*pending = map[string]string{}
		}
		for _, resource := range got.SnapshotPage.GetResources() {
			put(*pending, resource)
		}
		if got.SnapshotPage.GetLast() {
			m.resources, m.revision = *pending, got.SnapshotPage.GetRevision()
			*pending = nil
			m.snapshots++
		}
	case *configv1.WatchConfigResponse_Change:
		if *pending != nil || got.Change.GetRevision() != m.revision+1 {
			return fmt.Errorf("change %d follows %d (snapshot under way: %t)", got.Change.GetRevision(), m.revision, *pending != nil)
		}
		for _, resource := range got.Change.GetResources() {
			put(m.resources, resource)
		}
		m.revision = got.Change.GetRevision()
	}
	return nil
}

// put notes what one resource is from now on.
func put(resources map[string]string, resource *configv1.Resource) {
	switch r := resource.GetResource().(type) {
	case *configv1.Resource_Organization:
		resources["organization "+r.Organization.GetId()] = text(r.Organization)
	case *configv1.Resource_Webhook:
		resources["webhook "+r.Webhook.GetId()] = text(r.Webhook)
	case *configv1.Resource_Trigger:
		resources["trigger "+r.Trigger.GetOrganization()+"/"+r.Trigger.GetId()] = text(r.Trigger)
	case *configv1.Resource_ApiKey:
		resources["api key "+r.ApiKey.GetId()] = text(r.ApiKey)
	case *configv1.Resource_DeletedWebhook:
		delete(resources, "webhook "+r.DeletedWebhook)
	case *configv1.Resource_DeletedApiKey:
		delete(resources, "api key "+r.DeletedApiKey)
	case *configv1.Resource_DeletedTrigger:
		delete(resources, "trigger "+r.DeletedTrigger.GetOrganization()+"/"+r.DeletedTrigger.GetId())
	case *configv1.Resource_DeletedOrganization:
		delete(resources, "organization "+r.DeletedOrganization)
	}
}

// known returns the revision and a copy of what is known.
func (m *mirror) known() (int64, map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.revision, maps.Clone(m.resources)
}

// follower follows the feed in the background, and goes on from where it was each time it is cut off.
type follower struct {
	mirror
	client  configv1.ConfigServiceClient
	often   atomic.Bool  // it is cut off after every few changes
	streams atomic.Int64 // so many were begun

	streamMu sync.Mutex
	hangUp   context.CancelFunc // ends the current stream
	failure  error
}

// follow follows the feed until the test ends.
func (i *instance) follow(t *testing.T) *follower {
	t.Helper()
	f := &follower{client: i.as(t, i.serviceToken).config, hangUp: func() {}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil && f.failure == nil {
			f.once(ctx)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		require.NoError(t, f.failure)
	})
	return f
}

// once works off one stream.
func (f *follower) once(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.streamMu.Lock()
	f.hangUp = cancel
	f.streamMu.Unlock()
	revision, _ := f.known()
	s, err := f.client.WatchConfig(ctx, &configv1.WatchConfigRequest{AfterRevision: revision})
	if err != nil {
		return
	}
	f.streams.Add(1)
	var pending map[string]string
	for left := 1 + rand.N(60); left > 0 || !f.often.Load(); {
		message, err := s.Recv()
		if err != nil {
			return
		}
		if err := f.apply(message, &pending); err != nil {
			f.failure = err
			return
		}
		if message.GetChange() != nil {
			left--
		}
	}
}

// cutOffOften makes the follower begin again after every few changes from now on.
func (f *follower) cutOffOften() { f.often.Store(true) }

// cutOff ends the current stream.
func (f *follower) cutOff() {
	f.streamMu.Lock()
	defer f.streamMu.Unlock()
	f.hangUp()
}

// waitFor waits until the follower has a revision.
func (f *follower) waitFor(t *testing.T, revision int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		have, _ := f.known()
		return have >= revision
	}, patience, poll)
}

// operatorKeys returns the ids of the operators' keys.
func (f *follower) operatorKeys() []string {
	var ids []string
	_, resources := f.known()
	for name, value := range resources {
		if k, ok := parse[*configv1.ApiKey](value); ok && k.GetRole() == accessv1.Role_ROLE_OPERATOR {
			ids = append(ids, name[len("api key "):])
		}
	}
	slices.Sort(ids)
	return ids
}

// stored returns what the tables say, in the form that a mirror has, without the code under test.
func (i *installation) stored(t require.TestingT) map[string]string {
	ctx := context.Background()
	resources := map[string]string{}
	query := func(sql string, scan func(pgx.Rows) error) {
		rows, err := i.pool.Query(ctx, sql)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			require.NoError(t, scan(rows))
		}
		require.NoError(t, rows.Err())
	}
	query(storedOrganizations, func(rows pgx.Rows) error {
		o, err := scanOrganization(rows)
		resources["organization "+o.GetId()] = text(o)
		return err
	})
	query(storedTriggers, func(rows pgx.Rows) error {
		trigger, err := scanTrigger(rows)
		resources["trigger "+trigger.GetOrganization()+"/"+trigger.GetId()] = text(trigger)
		return err
	})
	query("SELECT id, coalesce(organization, ''), role, secret_sha256 FROM subscription.api_key", func(rows pgx.Rows) error {
		k := &configv1.ApiKey{}
		err := rows.Scan(&k.Id, &k.Organization, (*int32)(&k.Role), &k.SecretSha256)
		resources["api key "+k.GetId()] = text(k)
		return err
	})
	query(storedWebhooks, func(rows pgx.Rows) error {
		w, err := scanWebhook(rows)
		resources["webhook "+w.GetId()] = text(w)
		return err
	})
	return resources
}

// text returns a message as text that is the same for equal messages.
func text(m proto.Message) string {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return err.Error()
	}
	return string(m.ProtoReflect().Descriptor().Name()) + " " + string(encoded)
}

// parse is the way back, for messages of one kind.
func parse[M proto.Message](value string) (m M, ok bool) {
	message := m.ProtoReflect().New().Interface()
	encoded, ok := strings.CutPrefix(value, string(message.ProtoReflect().Descriptor().Name())+" ")
	if !ok || proto.Unmarshal([]byte(encoded), message) != nil {
		return m, false
	}
	m, ok = message.(M)
	return m, ok
}
