package core

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzScan checks that the scan goes through exactly what is JSON: what it cannot read, it could not look into.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-2.5e+3,true,false,null,"\u00e9\ud83c\udf89\\\"\/"],"b":{}}`, ` [ ] `, `[1,]`, `{"a":1,}`, `01`, `-`, `1.`, `1e`, `"\x"`,
		`"\u12"`, "\"\n\"", `{"a" 1}`, `tru`, `[1 2]`, `{}{}`, ``, `"\ud83c\ud83c"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !utf8.Valid(raw) {
			return
		}
		_, whole, err := scan(raw)
		if err != nil {
			require.False(t, whole)
			return
		}
		require.Equal(t, json.Valid(raw), whole, "%q", raw)
	})
}
