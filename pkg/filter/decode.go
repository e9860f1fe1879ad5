package filter

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// decode reads a JSON object into values of CEL. Of a name that occurs twice in an object the last one counts.
func decode(document []byte) (ref.Val, error) {
	if !json.Valid(document) {
		return nil, ErrEvent
	}
	d := decoder{text: string(document)}
	root, ok := d.value().(*object)
	if !ok {
		return nil, ErrEvent
	}
	return root, nil
}

// decoder reads JSON that is known to be valid.
type decoder struct {
	text string
	at   int
}

func (d *decoder) value() ref.Val {
	d.at = skipSpace(d.text, d.at)
	switch d.text[d.at] {
	case '{':
		return d.object()
	case '[':
		return d.list()
	case '"':
		return types.String(d.string())
	case 't':
		d.at += len("true")
		return types.True
	case 'f':
		d.at += len("false")
		return types.False
	case 'n':
		d.at += len("null")
		return types.NullValue
	}
	return d.number()
}

func (d *decoder) object() ref.Val {
	o := &object{fields: make(map[string]ref.Val)}
	d.at++
	for d.more('}') {
		name := d.string()
		d.at = skipSpace(d.text, d.at) + 1 // the colon
		o.set(name, d.value())
	}
	return o
}

func (d *decoder) list() ref.Val {
	var elements []ref.Val
	d.at++
	for d.more(']') {
		elements = append(elements, d.value())
	}
	return types.NewRefValList(types.DefaultTypeAdapter, elements)
}

// more goes to the next element, or behind the end of the object or list.
func (d *decoder) more(end byte) bool {
	d.at = skipSpace(d.text, d.at)
	if d.text[d.at] == ',' {
		d.at = skipSpace(d.text, d.at+1)
	}
	if d.text[d.at] == end {
		d.at++
		return false
	}
	return true
}

// string reads a string. Without escapes it shares the memory of the document.
func (d *decoder) string() string {
	start := d.at
	d.at++
	escaped := false
	for d.text[d.at] != '"' {
		if d.text[d.at] == '\\' {
			escaped = true
			d.at++
		}
		d.at++
	}
	d.at++
	if !escaped {
		return strings.ToValidUTF8(d.text[start+1:d.at-1], "\uFFFD")
	}
	var s string
	if err := json.Unmarshal([]byte(d.text[start:d.at]), &s); err != nil {
		return "" // never: the text is valid
	}
	return s
}

func (d *decoder) number() ref.Val {
	start := d.at
	for d.at < len(d.text) && strings.IndexByte("+-.0123456789eE", d.text[d.at]) >= 0 {
		d.at++
	}
	number := d.text[start:d.at]
	if !strings.ContainsAny(number, ".eE") {
		if i, err := strconv.ParseInt(number, 10, 64); err == nil {
			return types.Int(i)
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil && !math.IsInf(f, 0) {
		return types.Double(math.NaN()) // never: the text is valid
	}
	return types.Double(f)
}

func skipSpace[T string | []byte](text T, from int) int {
	for from < len(text) && (text[from] == ' ' || text[from] == '\t' || text[from] == '\n' || text[from] == '\r') {
		from++
	}
	return from
}
