package rest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
)

const (
	patience       = 20 * time.Second
	operationsPath = "/v1/organizations/acme/operations"
	operationName  = "organizations/acme/operations/11111111-2222-4333-8444-555555555555"
)

// unknown is the answer of a service that does not know an operation.
func unknown(proto.Message) (proto.Message, error) {
	return nil, rpc.Status(fault.New(fault.NotFound, "OPERATION_NOT_FOUND", "it does not exist")).Err()
}

func TestOperationsOfAllServices(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, b := range []*backend{e.subscription, e.ingest, e.delivery} {
		b.answers(unknown)
	}
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/v1/" + operationName, ""}, {"POST", "/v1/" + operationName + ":cancel", "{}"},
		{"POST", "/v1/" + operationName + ":resume", "{}"}, {"GET", "/v1/" + operationName + ":watch", ""},
	} {
		requireFailure(t, e.do(t, c.method, c.path, c.body), 404, 5, "OPERATION_NOT_FOUND")
		e.delivery.answers(func(proto.Message) (proto.Message, error) {
			return &operationv1.Operation{Name: operationName, Done: true}, nil
		})
		got := e.do(t, c.method, c.path, c.body)
		require.Equal(t, http.StatusOK, got.status, "%s", got.body)
		require.Contains(t, string(got.body), operationName)
		e.delivery.answers(unknown)
		f := requireFailure(t, e.do(t, c.method, c.path+"?fliter=x", c.body), 400, 3, "INVALID_FIELD")
		require.Contains(t, f.Message, "fliter")
	}
	requireFailure(t, e.do(t, "GET", operationsPath, ""), 404, 5, "OPERATION_NOT_FOUND")
	e.ingest.answers(func(proto.Message) (proto.Message, error) { return &operationv1.ListOperationsResponse{}, nil })
	e.ingest.stop()
	for _, path := range []string{operationsPath, "/v1/" + operationName, "/v1/" + operationName + ":watch"} {
		got := e.do(t, "GET", path, "")
		requireFailure(t, got, 503, 14, "UNAVAILABLE")
		require.NotContains(t, string(got.body), e.ingest.address)
	}
}

// Every message comes as soon as the service has sent it, as a line.
func TestWatchedOperationIsStreamed(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.subscription.answers(unknown)
	e.delivery.answers(unknown)
	states := make(chan *operationv1.Operation)
	broken := make(chan error)
	e.ingest.streams(func(send func(proto.Message) error, done <-chan struct{}) error {
		for {
			select {
			case o := <-states:
				if err := send(o); err != nil {
					return err
				}
			case err := <-broken:
				return err
			case <-done:
				return nil
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/v1/"+operationName+":watch", nil)
	require.NoError(t, err)
	go func() { states <- &operationv1.Operation{Name: operationName, ProcessedCount: 1} }()
	response, err := e.client.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "application/json", response.Header.Get("Content-Type"))
	lines := bufio.NewScanner(response.Body)
	require.True(t, lines.Scan())
	require.JSONEq(t, `{"result":{"name":"`+operationName+`","processedCount":"1"}}`, lines.Text())
	states <- &operationv1.Operation{Name: operationName, ProcessedCount: 2}
	require.True(t, lines.Scan())
	require.JSONEq(t, `{"result":{"name":"`+operationName+`","processedCount":"2"}}`, lines.Text())
	broken <- rpc.Status(fault.New(fault.Unavailable, "STOPPING", "watch again")).Err()
	require.True(t, lines.Scan())
	var last struct {
		Error struct {
			Code    int
			Message string
		}
	}
	require.NoError(t, json.Unmarshal(lines.Bytes(), &last))
	require.Equal(t, 14, last.Error.Code)
	require.Equal(t, "watch again", last.Error.Message)
	require.False(t, lines.Scan())
}

func TestWatchingEndsWhenTheGatewayStops(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, b := range []*backend{e.subscription, e.ingest} {
		b.answers(unknown)
	}
	e.delivery.streams(func(send func(proto.Message) error, done <-chan struct{}) error {
		err := send(&operationv1.Operation{Name: operationName})
		<-done
		return err
	})
	response, err := e.client.Get(e.url + "/v1/" + operationName + ":watch")
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	lines := bufio.NewScanner(response.Body)
	require.True(t, lines.Scan())
	e.operations.Close()
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "STOPPING")
	require.False(t, lines.Scan())
}
