package bus

import (
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// deliveryNamespace is the UUIDv5 namespace of delivery ids. It must never change: the id is what makes a
// repeated fan-out, a retry and a replay the same delivery to streams and receivers.
var deliveryNamespace = uuid.MustParse("6f1d9c0e-4b57-5c8a-9d64-3e0b7a2f8c15")

// DeliveryID is the id of one event for one webhook: a UUIDv5 of organization, source, event id and webhook id.
func DeliveryID(organization, source, eventID, webhook string) string {
	// A zero byte can be in none of the four, so no two different quadruples have the same name.
	name := organization + "\x00" + source + "\x00" + eventID + "\x00" + webhook
	return uuid.NewSHA1(deliveryNamespace, []byte(name)).String()
}

// msgIDEscapes keeps the parts of a message id apart.
var msgIDEscapes = strings.NewReplacer("%", "%25", ":", "%3A")

// EventMsgID is the Nats-Msg-Id of an event, `<organization>:<source>:<id>`: CloudEvents identifies an event by
// source and id, and two organizations may use the same ones. In the source `:` and `%` are written as `%3A` and
// `%25`: the id `b:c` of the source `a` would otherwise be taken for a duplicate of the id `c` of the source `a:b`.
func EventMsgID(organization, source, eventID string) string {
	return organization + ":" + msgIDEscapes.Replace(source) + ":" + eventID
}

// ReplacementMsgID is the Nats-Msg-Id of a message that takes the place of another: a deferral, a timer, a
// dead letter, a replay. It names what is replaced, so that doing the same step again is a duplicate, and the
// next step of the same delivery is not.
func ReplacementMsgID(stream string, sequence uint64) string {
	return stream + ":" + strconv.FormatUint(sequence, 10)
}

// FanOutMsgID is the Nats-Msg-Id of a part, numbered from 0, of what became of an event.
func FanOutMsgID(sequence uint64, part int) string {
	id := "fanout:" + strconv.FormatUint(sequence, 10)
	if part > 0 {
		id += ":" + strconv.Itoa(part)
	}
	return id
}
