package core

import (
	"slices"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// SealedSecret is an encrypted signing secret.
type SealedSecret struct {
	Sealed     []byte
	CreateTime time.Time
	ExpireTime time.Time // when it stops being valid; zero: not yet decided
}

// Sealer encrypts what is secret, for a purpose that the associated text names.
type Sealer interface {
	// Seal encrypts a text. Its error is one of the random source.
	Seal(text, associated string) ([]byte, error)
	// Open returns what Seal was given. Its error says that it was sealed with another key, or for another purpose.
	Open(sealed []byte, associated string) (string, error)
}

// ValidSecrets returns the secrets that are valid at a time, in their order.
func ValidSecrets(secrets []SealedSecret, now time.Time) []SealedSecret {
	return slices.DeleteFunc(slices.Clone(secrets), func(s SealedSecret) bool {
		return !s.ExpireTime.IsZero() && !s.ExpireTime.After(now)
	})
}

// RotateSecrets puts a new secret before those that are valid, which end when the grace period does, or earlier as
// decided before. At most 10 stay.
func RotateSecrets(secrets []SealedSecret, sealed []byte, grace time.Duration, now time.Time) []SealedSecret {
	rotated := []SealedSecret{{Sealed: sealed, CreateTime: now}}
	end := Stored(now.Add(grace))
	for _, old := range ValidSecrets(secrets, now) {
		if grace == 0 || len(rotated) == MaxValidSecrets {
			break
		}
		if old.ExpireTime.IsZero() || old.ExpireTime.After(end) {
			old.ExpireTime = end
		}
		rotated = append(rotated, old)
	}
	return rotated
}

// ActivateSecret leaves only the newest secret.
func ActivateSecret(secrets []SealedSecret) []SealedSecret {
	if len(secrets) == 0 {
		return nil
	}
	return []SealedSecret{{Sealed: secrets[0].Sealed, CreateTime: secrets[0].CreateTime}}
}

// SigningOrder returns the valid secrets in the order in which a dialect signs with them: all, the newest first, or,
// where there is one signature, first the one that it is made with: the oldest, since receivers that have heard of no
// newer one have it until its grace period ends.
func SigningOrder(secrets []SealedSecret, manySignatures bool, now time.Time) []SealedSecret {
	valid := ValidSecrets(secrets, now)
	if !manySignatures {
		slices.Reverse(valid)
	}
	return valid
}

// CheckGracePeriod returns what is wrong with a grace period.
func CheckGracePeriod(path string, grace time.Duration) []fault.Field {
	if grace < 0 || grace > MaxGracePeriod {
		return field(path, ruleRange, "must be from 0 to %s", MaxGracePeriod)
	}
	return nil
}
