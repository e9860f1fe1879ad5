package core

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// etagOf returns a text that is another one for each version of the resource with a name, also of one that was made
// anew under the same name. It says nothing by itself.
func etagOf(name string, created time.Time, version int64) string {
	sum := sha256.Sum256([]byte(name + "@" + strconv.FormatInt(created.UnixMicro(), 10) + "@" + strconv.FormatInt(version, 10)))
	return hex.EncodeToString(sum[:8])
}

// checkETag returns fault.Aborted when an etag is given and is not the current one of the resource with this name.
func checkETag(given, current, name string) error {
	if given == "" || given == current {
		return nil
	}
	return fault.New(fault.Aborted, "ETAG_MISMATCH", "%s was changed since it was read: read it again, and repeat", name)
}
