package bus

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"github.com/nats-io/nats.go"

	"github.com/meetwire/meetwire/pkg/secret"
)

// OperationalSource is the CloudEvents source of the events that Meetwire itself publishes, such as
// `webhook.disabled`.
const OperationalSource = "//meetwire/subscription"

// OperationalToken proves that an event was published by Meetwire itself, to everybody who knows the token of the
// services: the HMAC-SHA256 of the event's Nats-Msg-Id in lower-case hexadecimal. It is sent as HeaderOperational.
func OperationalToken(token secret.String, msgID string) string {
	mac := hmac.New(sha256.New, []byte(token.Reveal()))
	mac.Write([]byte(msgID))
	return hex.EncodeToString(mac.Sum(nil))
}

// CheckOperational reports whether a message carries the proof for this Nats-Msg-Id. The caller builds the id from the
// event itself: what the message says of its id is not to be trusted. Without a token nobody can prove anything.
func CheckOperational(token secret.String, header nats.Header, msgID string) bool {
	proofs := header[HeaderOperational]
	if token.IsZero() || len(proofs) != 1 {
		return false
	}
	return hmac.Equal([]byte(proofs[0]), []byte(OperationalToken(token, msgID)))
}
