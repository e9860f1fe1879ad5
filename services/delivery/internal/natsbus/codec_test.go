package natsbus

import (
	"bytes"
	"fmt"
	"math"
	"net/textproto"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// overTheWire returns headers as a NATS client writes and reads them.
func overTheWire(t require.TestingT, header nats.Header) nats.Header {
	var wire bytes.Buffer
	wire.WriteString("NATS/1.0\r\n")
	for name, values := range header {
		for _, value := range values {
			fmt.Fprintf(&wire, "%s: %s\r\n", name, textproto.TrimString(value))
		}
	}
	wire.WriteString("\r\n")
	decoded, err := nats.DecodeHeadersMsg(wire.Bytes())
	require.NoError(t, err)
	return decoded
}

func TestTasksSurviveHeaders(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// What ingest lets into a header: no control characters, no white space at the ends.
		text := rapid.StringMatching(`[!-~£-ž🙂]([ -~£-ž🙂]{0,30}[!-~£-ž🙂])?`)
		attempts := rapid.IntRange(0, maxCount).Draw(t, "attempts")
		want := &core.Task{
			Delivery: text.Draw(t, "delivery"), Organization: text.Draw(t, "organization"), Webhook: text.Draw(t, "webhook"),
			Lane: "meeting-booked", Trigger: text.Draw(t, "trigger"),
			EventSource: text.Draw(t, "source"), EventID: text.Draw(t, "id"),
			EventSequence:  rapid.Uint64Range(0, math.MaxInt64).Draw(t, "sequence"),
			ConfigRevision: rapid.Int64Range(0, math.MaxInt64).Draw(t, "revision"),
			AcceptedAt:     time.Unix(0, rapid.Int64().Draw(t, "accepted")).UTC(),
			Attempts:       attempts, AttemptBase: rapid.IntRange(0, attempts).Draw(t, "base"),
			TraceParent: rapid.OneOf(rapid.Just(""), text).Draw(t, "parent"),
			TraceState:  rapid.OneOf(rapid.Just(""), text).Draw(t, "state"),
			RunAt:       rapid.SampledFrom([]time.Time{{}, time.Unix(0, 1_760_000_000_123_456_789).UTC()}).Draw(t, "run"),
			SlotAt:      rapid.SampledFrom([]time.Time{{}, time.Unix(0, 1_770_000_000_123_456_789).UTC()}).Draw(t, "slot"),
			Recorded:    attempts > 0 || rapid.Bool().Draw(t, "recorded"),
			Event:       rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "event"),
		}
		got, err := decode(overTheWire(t, encode(want)), want.Lane, want.Event)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func TestTaskWithoutABodyHasNoEvent(t *testing.T) {
	t.Parallel()
	for _, body := range [][]byte{nil, {}} {
		got, err := decode(encode(task()), "custom", body)
		require.NoError(t, err)
		require.Nil(t, got.Event)
		require.Equal(t, "custom", got.Lane)
	}
}

func TestNothingElseOfAMessageTravelsOn(t *testing.T) {
	t.Parallel()
	header := encode(task())
	header.Set("Nats-Schedule", "@at 2026-01-31T12:00:00Z")
	header.Set("Nats-Msg-Id", "x")
	header.Set(bus.HeaderParked, "true")
	header.Set("Authorization", "secret")
	got, err := decode(header, "meeting-booked", nil)
	require.NoError(t, err)
	for name := range encode(got) {
		require.Contains(t, []string{
			bus.HeaderDeliveryID, bus.HeaderOrganization, bus.HeaderWebhookID, bus.HeaderTrigger, bus.HeaderSource, bus.HeaderEventID,
			bus.HeaderEventSequence, bus.HeaderConfigRevision, bus.HeaderAcceptedAt, bus.HeaderTraceParent,
			bus.HeaderRecorded, // what is parked was recorded
		}, name)
	}
}

func TestDecodeNamesTheHeaderAtFault(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		header string
		bad    []string // "" leaves it out
	}{
		{bus.HeaderDeliveryID, []string{""}},
		{bus.HeaderOrganization, []string{""}},
		{bus.HeaderWebhookID, []string{""}},
		{bus.HeaderTrigger, []string{""}},
		{bus.HeaderSource, []string{""}},
		{bus.HeaderEventID, []string{""}},
		{bus.HeaderEventSequence, []string{"", "-1", "x", "1.0", "18446744073709551616"}},
		{bus.HeaderConfigRevision, []string{"", "-1", "x", "9223372036854775808"}},
		{bus.HeaderAcceptedAt, []string{"", "yesterday", "2026-01-31", "2026-01-31T12:00:00"}},
		{bus.HeaderRunAt, []string{"today", "2026-01-31"}},
		{bus.HeaderAttempt, []string{"-1", "x", "2147483648", "9223372036854775807"}},
		// More attempts before the last replay than in all: how many are left could not be told.
		{bus.HeaderAttemptBase, []string{"-1", "x", "1", "2147483648"}},
	} {
		for _, bad := range test.bad {
			header := encode(task())
			header.Set(test.header, bad)
			if bad == "" {
				header.Del(test.header)
			}
			_, err := decode(header, "meeting-booked", nil)
			require.ErrorIs(t, err, errHeader, "%s: %q", test.header, bad)
			require.ErrorContains(t, err, test.header, "%q", bad)
		}
	}
	_, err := decode(nil, "", nil)
	require.ErrorIs(t, err, errHeader)
}

func FuzzDecode(f *testing.F) {
	f.Add("7", "3", "2026-01-31T12:00:00Z", "1", "0", "d", []byte(event))
	f.Add("-1", "", "0000-00-00T00:00:00Z", "99999999999999999999", "-0", "", []byte(nil))
	f.Add("+7", "03", "2026-01-31T12:00:00.123456789+23:59", "1", "1", "\x00", []byte{0xff})
	f.Fuzz(func(t *testing.T, sequence, revision, accepted, attempt, base, delivery string, body []byte) {
		header := encode(task())
		header.Set(bus.HeaderEventSequence, sequence)
		header.Set(bus.HeaderConfigRevision, revision)
		header.Set(bus.HeaderAcceptedAt, accepted)
		header.Set(bus.HeaderAttempt, attempt)
		header.Set(bus.HeaderAttemptBase, base)
		header.Set(bus.HeaderDeliveryID, delivery)
		got, err := decode(header, "meeting-booked", body)
		if err != nil {
			require.ErrorIs(t, err, errHeader)
			return
		}
		require.GreaterOrEqual(t, got.Run(), 0)
		_, again := core.Policy{MaxRetries: 9}.Next(got.Run() + 1)
		require.Equal(t, got.Run() < 9, again)
		written, err := decode(encode(got), got.Lane, got.Event)
		require.NoError(t, err)
		requireTask(t, got, written)
	})
}
