package pgstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// copyRows stores rows with COPY, which costs Postgres, and this process, about half of an INSERT of arrays. It knows no
// ON CONFLICT: one row that is there already fails all.
func copyRows(ctx context.Context, tx pgx.Tx, sql string, rows int, encode func(row copyRow, i int) copyRow) error {
	source := &copySource{rows: rows, encode: encode, pending: append([]byte(nil), copyHeader...)}
	tag, err := tx.Conn().PgConn().CopyFrom(ctx, source, sql)
	if err != nil {
		return fmt.Errorf("copy rows: %w", err)
	}
	if tag.RowsAffected() != int64(rows) {
		return fmt.Errorf("copy rows: %d of %d were stored", tag.RowsAffected(), rows)
	}
	return nil
}

// The beginning of COPY's binary format: its signature, no flags, nothing more. See "COPY", "Binary Format" in the
// manual of Postgres.
const copyHeader = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"

// copySource is rows in COPY's binary format. They are encoded while they are sent.
type copySource struct {
	rows    int
	encode  func(row copyRow, i int) copyRow
	next    int     // row that is encoded then
	pending copyRow // encoded already
	sent    int     // part of pending
}

// Read fills p as far as there are rows: each call becomes a message.
func (s *copySource) Read(p []byte) (n int, err error) {
	for {
		part := copy(p[n:], s.pending[s.sent:])
		n, s.sent = n+part, s.sent+part
		switch {
		case n == len(p):
			return n, nil
		case s.next == s.rows:
			return n, io.EOF // to Postgres the end of the messages is the end of the rows
		}
		s.pending, s.sent = s.encode(s.pending[:0], s.next), 0
		s.next++
	}
}

// copyRow is a row that is being encoded: how many columns, then of each its length and its value.
type copyRow []byte

func (r copyRow) begin(columns uint16) copyRow { return binary.BigEndian.AppendUint16(r, columns) }

func (r copyRow) length(n int) copyRow {
	return binary.BigEndian.AppendUint32(r, uint32(n)) //nolint:gosec // G115: a record is a message of NATS
}

func (r copyRow) null() copyRow { return append(r, 0xff, 0xff, 0xff, 0xff) }

func (r copyRow) text(s string) copyRow { return append(r.length(len(s)), s...) }

func (r copyRow) bytes(b []byte) copyRow { return append(r.length(len(b)), b...) }

func (r copyRow) uuid(id uuid.UUID) copyRow { return append(r.length(len(id)), id[:]...) }

func (r copyRow) boolean(b bool) copyRow {
	if b {
		return append(r.length(1), 1)
	}
	return append(r.length(1), 0)
}

func (r copyRow) int16(n int16) copyRow {
	return binary.BigEndian.AppendUint16(r.length(2), uint16(n)) //nolint:gosec // G115: its bits
}

func (r copyRow) int32(n int32) copyRow {
	return binary.BigEndian.AppendUint32(r.length(4), uint32(n)) //nolint:gosec // G115: its bits
}

func (r copyRow) int64(n int64) copyRow {
	return binary.BigEndian.AppendUint64(r.length(8), uint64(n)) //nolint:gosec // G115: its bits
}

// y2k is the second from which Postgres counts, in days and in microseconds.
const y2k = 946684800

func (r copyRow) day(t time.Time) copyRow { return r.int32(int32((t.Unix() - y2k) / 86400)) } //nolint:gosec // G115: a day

func (r copyRow) time(t time.Time) copyRow {
	return r.int64((t.Unix()-y2k)*1e6 + int64(t.Nanosecond())/1e3)
}

// timeOrNull takes the year 1 for none.
func (r copyRow) timeOrNull(t time.Time) copyRow {
	if t.IsZero() {
		return r.null()
	}
	return r.time(t)
}
