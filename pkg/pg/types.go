package pg

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// registerTypes makes a connection return points in time in UTC, where the default is the zone of the machine, and send
// and return ids and lists without detours: by itself pgx makes a text of each UUID and reads it again, and looks at
// every element of a list anew.
func registerTypes(types *pgtype.Map) {
	timestamptz := &pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}}
	types.RegisterType(timestamptz)
	types.RegisterType(&pgtype.Type{Name: "tstzrange", OID: pgtype.TstzrangeOID, Codec: &pgtype.RangeCodec{ElementType: timestamptz}})
	id := &pgtype.Type{Name: "uuid", OID: pgtype.UUIDOID, Codec: uuidCodec{}}
	types.RegisterType(id)

	registerList(types, "_uuid", pgtype.UUIDArrayOID, id, func(buf []byte, id uuid.UUID) []byte { return append(buf, id[:]...) })
	registerList(types, "_timestamptz", pgtype.TimestamptzArrayOID, timestamptz, appendTime)
	registerList(types, "_date", pgtype.DateArrayOID, known(types, pgtype.DateOID), appendDate)
	registerList(types, "_text", pgtype.TextArrayOID, known(types, pgtype.TextOID), func(buf []byte, text string) []byte { return append(buf, text...) })
	registerList(types, "_bytea", pgtype.ByteaArrayOID, known(types, pgtype.ByteaOID), func(buf []byte, bytes []byte) []byte {
		if bytes == nil {
			return nil
		}
		return append(buf, bytes...)
	})
	registerList(types, "_bool", pgtype.BoolArrayOID, known(types, pgtype.BoolOID), func(buf []byte, b bool) []byte {
		if b {
			return append(buf, 1)
		}
		return append(buf, 0)
	})
	registerList(types, "_int2", pgtype.Int2ArrayOID, known(types, pgtype.Int2OID), func(buf []byte, n int16) []byte {
		return binary.BigEndian.AppendUint16(buf, uint16(n)) //nolint:gosec // G115: the same bits
	})
	registerList(types, "_int4", pgtype.Int4ArrayOID, known(types, pgtype.Int4OID), appendInt32)
	registerList(types, "_int8", pgtype.Int8ArrayOID, known(types, pgtype.Int8OID), appendInt64)
}

// known returns a type that every connection knows.
func known(types *pgtype.Map, oid uint32) *pgtype.Type {
	t, _ := types.TypeForOID(oid)
	return t
}

// registerList makes lists of T the way to send arrays of a type. The function appends an element as Postgres has it in
// its binary format, or returns nil for NULL.
func registerList[T any](types *pgtype.Map, name string, oid uint32, element *pgtype.Type, appendElement func([]byte, T) []byte) {
	codec := listCodec[T]{ArrayCodec: &pgtype.ArrayCodec{ElementType: element}, append: appendElement}
	types.RegisterType(&pgtype.Type{Name: name, OID: oid, Codec: codec})
}

// listCodec is that of an array of Postgres. Whatever is no list of T is left to pgx.
type listCodec[T any] struct {
	*pgtype.ArrayCodec

	append func(buf []byte, element T) []byte
}

// PlanEncode implements pgtype.Codec.
func (c listCodec[T]) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.([]T); ok && format == pgtype.BinaryFormatCode {
		return c
	}
	return c.ArrayCodec.PlanEncode(m, oid, format, value)
}

// Encode implements pgtype.EncodePlan. An array is: the number of its dimensions, whether there are NULLs, the type of its
// elements; per dimension its length and its first index; and each element behind its length, which is -1 for NULL.
func (c listCodec[T]) Encode(value any, buf []byte) ([]byte, error) {
	elements, ok := value.([]T)
	if !ok {
		return nil, fmt.Errorf("encode a list of %T: it is one of %T", *new(T), value)
	}
	if elements == nil {
		return nil, nil // NULL
	}
	buf = slices.Grow(buf, 20+20*len(elements)+textBytes(value))
	dimensions := min(len(elements), 1)
	buf = appendInt32(buf, int32(dimensions))
	nulls := len(buf)
	buf = appendInt32(buf, 0)
	buf = binary.BigEndian.AppendUint32(buf, c.ElementType.OID)
	if dimensions == 1 {
		buf = appendInt32(buf, int32(len(elements))) //nolint:gosec // G115: Postgres takes far less
		buf = appendInt32(buf, 1)
	}
	for _, element := range elements {
		at := len(buf)
		buf = appendInt32(buf, -1)
		with := c.append(buf, element)
		if with == nil {
			binary.BigEndian.PutUint32(buf[nulls:], 1)
			continue
		}
		buf = with
		binary.BigEndian.PutUint32(buf[at:], uint32(len(buf)-at-4)) //nolint:gosec // G115: a message has less than 1 GiB
	}
	return buf, nil
}

// textBytes is how many bytes there are in a list of texts.
func textBytes(list any) (n int) {
	switch list := list.(type) {
	case []string:
		for _, text := range list {
			n += len(text)
		}
	case [][]byte:
		for _, bytes := range list {
			n += len(bytes)
		}
	}
	return n
}

func appendInt32(buf []byte, n int32) []byte {
	return binary.BigEndian.AppendUint32(buf, uint32(n)) //nolint:gosec // G115: the same bits
}

func appendInt64(buf []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(buf, uint64(n)) //nolint:gosec // G115: the same bits
}

// epoch is where Postgres begins to count, in seconds of Unix: the beginning of 2000.
const epoch = 946_684_800

// appendTime appends the microseconds since the epoch.
func appendTime(buf []byte, t time.Time) []byte {
	return appendInt64(buf, (t.Unix()-epoch)*1_000_000+int64(t.Nanosecond())/1000)
}

// appendDate appends the days since the epoch of the day that it is where the time says it is.
func appendDate(buf []byte, t time.Time) []byte {
	midnight := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	return appendInt32(buf, int32((midnight.Unix()-epoch)/(24*60*60))) //nolint:gosec // G115: Postgres knows fewer days
}

// uuidCodec is that of UUIDs. Whatever is no uuid.UUID is left to pgx.
type uuidCodec struct{ pgtype.UUIDCodec }

// PlanEncode implements pgtype.Codec.
func (c uuidCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(uuid.UUID); ok && format == pgtype.BinaryFormatCode {
		return uuidPlan{}
	}
	return c.UUIDCodec.PlanEncode(m, oid, format, value)
}

// PlanScan implements pgtype.Codec.
func (c uuidCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	if _, ok := target.(*uuid.UUID); ok && format == pgtype.BinaryFormatCode {
		return uuidPlan{}
	}
	return c.UUIDCodec.PlanScan(m, oid, format, target)
}

// uuidPlan copies UUIDs.
type uuidPlan struct{}

// Encode implements pgtype.EncodePlan.
func (uuidPlan) Encode(value any, buf []byte) ([]byte, error) {
	id, ok := value.(uuid.UUID)
	if !ok {
		return nil, fmt.Errorf("encode a UUID: it is a %T", value)
	}
	return append(buf, id[:]...), nil
}

// Scan implements pgtype.ScanPlan.
func (uuidPlan) Scan(src []byte, target any) error {
	id, ok := target.(*uuid.UUID)
	if !ok {
		return fmt.Errorf("read a UUID: into a %T", target)
	}
	if len(src) != len(id) {
		return fmt.Errorf("read a UUID: it has %d bytes", len(src)) // none when it is NULL: that needs a pointer
	}
	copy(id[:], src)
	return nil
}
