package mail

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes one line of a text: what would end a line becomes a space, and other control characters, those that
// turn the direction of writing included, go. Spaces at the ends go too, and of several one stays.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Bidi_Control, r), r == '\ufeff':
			return -1
		default:
			return r
		}
	}, strings.ToValidUTF8(s, "\ufffd"))
	return strings.Join(strings.Fields(s), " ")
}

// truncate shortens a text to so many characters, the last of which then is an ellipsis.
func truncate(s string, limit int) string {
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	runes := []rune(s)[:limit-1]
	// A letter keeps what is combined with it, or goes.
	for end := len(runes); end > 0 && unicode.Is(unicode.M, []rune(s)[end]); end-- {
		runes = runes[:end-1]
	}
	return strings.TrimRight(string(runes), " \u200d") + "…"
}

// lineWidth is how many characters a line of text has at most, words that are longer by themselves aside.
const lineWidth = 72

// wrap breaks a paragraph into lines.
func wrap(paragraph string) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(paragraph) {
		width := utf8.RuneCountInString(word)
		switch {
		case column == 0:
		case column+1+width > lineWidth:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += width
	}
	return b.String()
}
