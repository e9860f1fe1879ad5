package pg_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// Postgres itself says what it was sent.
func TestListsArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	id := uuid.MustParse("0123abcd-4567-4899-aabb-ccddeeff0011")
	east := time.FixedZone("east", 14*60*60)
	for sql, test := range map[string]struct {
		list any
		want string
	}{
		"$1::uuid[]": {[]uuid.UUID{id, uuid.Nil, uuid.Max}, "{0123abcd-4567-4899-aabb-ccddeeff0011,00000000-0000-0000-0000-000000000000,ffffffff-ffff-ffff-ffff-ffffffffffff}"},
		"$1::text[]": {[]string{"", "a b", `"{,}"`, "NULL", "会议 \U0001f5d3"}, `{"","a b","\"{,}\"","NULL","会议 ` + "\U0001f5d3" + `"}`},
		"$1::timestamptz[]": {
			[]time.Time{{}, time.Date(1999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(2026, 3, 1, 1, 0, 0, 1000, east)},
			`{"0001-01-01 00:00:00+00","1999-12-31 23:59:59.999999+00","2026-02-28 11:00:00.000001+00"}`,
		},
		"$1::date[]": {
			[]time.Time{{}, time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC), time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 1, 1, 0, 0, 0, east)},
			"{0001-01-01,1999-12-31,2024-02-29,2026-03-01}",
		},
		"$1::bytea[]":    {[][]byte{{}, nil, {0, 0xff}}, `{"\\x",NULL,"\\x00ff"}`},
		"$1::boolean[]":  {[]bool{true, false}, "{t,f}"},
		"$1::smallint[]": {[]int16{math.MinInt16, -1, 0, math.MaxInt16}, "{-32768,-1,0,32767}"},
		"$1::integer[]":  {[]int32{math.MinInt32, -1, 0, math.MaxInt32}, "{-2147483648,-1,0,2147483647}"},
		"$1::bigint[]":   {[]int64{math.MinInt64, -1, 0, math.MaxInt64}, "{-9223372036854775808,-1,0,9223372036854775807}"},
		// Others, for which pgx knows a way.
		"$1::int[]":          {[]int{7}, "{7}"},
		"$1::numeric[]":      {[]int64{7}, "{7}"},
		"$1::text[] ":        {[]*string{nil}, "{NULL}"},
		"$1::uuid[] ":        {[]string{id.String()}, "{0123abcd-4567-4899-aabb-ccddeeff0011}"},
		"$1::uuid[]  ":       {[]*uuid.UUID{&id, nil}, "{0123abcd-4567-4899-aabb-ccddeeff0011,NULL}"},
		"$1::text[]  ":       {[]string{}, "{}"},
		"$1::uuid[]   ":      {[]uuid.UUID{}, "{}"},
		"ARRAY[$1::uuid]":    {id, "{0123abcd-4567-4899-aabb-ccddeeff0011}"},
		"ARRAY[$1::uuid] ":   {(*uuid.UUID)(nil), "{NULL}"},
		"ARRAY[$1::uuid]  ":  {id.String(), "{0123abcd-4567-4899-aabb-ccddeeff0011}"},
		"ARRAY[$1::text]":    {id, "{0123abcd-4567-4899-aabb-ccddeeff0011}"},
		"ARRAY[$1::uuid]   ": {[16]byte(id), "{0123abcd-4567-4899-aabb-ccddeeff0011}"},
	} {
		var got string
		require.NoError(t, pool.QueryRow(newContext(t), "SELECT ("+sql+")::text", test.list).Scan(&got), sql)
		require.Equal(t, test.want, got, sql)
	}
	var null bool
	require.NoError(t, pool.QueryRow(newContext(t), "SELECT $1::uuid[] IS NULL", []uuid.UUID(nil)).Scan(&null))
	require.True(t, null)
}

func TestListsAndIDsAreReadAsTheyAre(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	id := uuid.MustParse("0123abcd-4567-4899-aabb-ccddeeff0011")
	var (
		one   uuid.UUID
		none  *uuid.UUID
		some  *uuid.UUID
		text  string
		ids   []uuid.UUID
		texts []string
		times []time.Time
	)
	require.NoError(t, pool.QueryRow(newContext(t),
		`SELECT $1::uuid, NULL::uuid, $1, $1, ARRAY[$1, $1], ARRAY['a', ''], ARRAY['2026-03-14 15:09:26+01'::timestamptz]`, id,
	).Scan(&one, &none, &some, &text, &ids, &texts, &times))
	require.Equal(t, id, one)
	require.Nil(t, none)
	require.Equal(t, id, *some)
	require.Equal(t, id.String(), text)
	require.Equal(t, []uuid.UUID{id, id}, ids)
	require.Equal(t, []string{"a", ""}, texts)
	require.Equal(t, []time.Time{time.Date(2026, 3, 14, 14, 9, 26, 0, time.UTC)}, times)
	require.Error(t, pool.QueryRow(newContext(t), "SELECT NULL::uuid").Scan(&one), "that is none")
}
