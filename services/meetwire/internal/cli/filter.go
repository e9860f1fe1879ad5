package cli

import (
	"fmt"
	"strings"
	"time"
)

// filter is a filter of a list (aip.dev/160), made of flags.
type filter struct{ terms []string }

func newFilter() *filter { return &filter{} }

// String implements fmt.Stringer.
func (f *filter) String() string { return strings.Join(f.terms, " AND ") }

// escaped makes a text fit between the quotes of a filter.
func escaped(text string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)
}

// is asks for a value, when there is one.
func (f *filter) is(field, value string) *filter {
	if value != "" {
		f.terms = append(f.terms, fmt.Sprintf(`%s="%s"`, field, escaped(value)))
	}
	return f
}

// number asks for a number other than 0.
func (f *filter) number(field string, value int) *filter {
	if value != 0 {
		f.terms = append(f.terms, fmt.Sprintf(`%s="%d"`, field, value))
	}
	return f
}

// between asks for a time range, each end of which may be open.
func (f *filter) between(field string, since, until *timeFlag) *filter {
	if since != nil {
		f.terms = append(f.terms, fmt.Sprintf(`%s>="%s"`, field, time.Time(*since).UTC().Format(time.RFC3339Nano)))
	}
	if until != nil {
		f.terms = append(f.terms, fmt.Sprintf(`%s<"%s"`, field, time.Time(*until).UTC().Format(time.RFC3339Nano)))
	}
	return f
}

// enum asks for a value of an enum, which is given without what all its values begin with.
func (f *filter) enum(field, prefix, value string) *filter {
	if value != "" {
		f.terms = append(f.terms, field+"="+prefix+strings.ToUpper(value))
	}
	return f
}
