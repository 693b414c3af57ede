package engine

import (
	"bytes"
	"strings"
)

// Members know who speaks by the beginning of a line. So that nobody can
// write a line in another's name, or a notice, the following lines of a text that has
// such a line begin with spaces.

// indentation stands before following lines.
const indentation = "  "

// lineMarks are beginnings of lines that are not a member's own text.
type lineMarks [][]byte

// newLineMarks takes what message_format has before the name.
func newLineMarks(format string) lineMarks {
	marks := lineMarks{[]byte("["), []byte("［"), []byte("***")}
	lead, rest, _ := strings.Cut(format, "{")
	if word, _, _ := strings.Cut(rest, "}"); word != "body" {
		marks = append(marks, []byte(strings.TrimSpace(lead))) // empty: any line
	}
	return marks
}

// guard indents the following lines of a text if one of them could be taken for
// another's, or for a notice.
func (l lineMarks) guard(text []byte) []byte {
	for at := nextLine(text, 0); at < len(text); at = nextLine(text, at) {
		line := bytes.TrimLeftFunc(text[at:], unseen)
		for _, mark := range l {
			if len(line) > 0 && bytes.HasPrefix(line, mark) {
				return indent(text)
			}
		}
	}
	return text
}

// indent puts spaces before all lines of a text but the first and empty ones.
func indent(text []byte) []byte {
	at := nextLine(text, 0)
	if at == len(text) {
		return text
	}
	out := append(make([]byte, 0, len(text)+64), text[:at]...)
	for at < len(text) {
		next := nextLine(text, at)
		if line := text[at:next]; len(bytes.TrimLeftFunc(line, isLineEnd)) > 0 {
			out = append(out, indentation...)
		}
		out = append(out, text[at:next]...)
		at = next
	}
	return out
}

func isLineEnd(r rune) bool { return strings.ContainsRune(lineEnds, r) }

// nextLine is where the line after that of text[from] begins; the end of text if it is
// the last. Lines end with any of lineEnds, in UTF-8.
func nextLine(text []byte, from int) int {
	for i := from; i < len(text); i++ {
		switch text[i] {
		case '\r':
			if i+1 < len(text) && text[i+1] == '\n' {
				i++
			}
			return i + 1
		case '\n', '\v', '\f':
			return i + 1
		case 0xc2: // U+0085
			if i+1 < len(text) && text[i+1] == 0x85 {
				return i + 2
			}
		case 0xe2: // U+2028, U+2029
			if i+2 < len(text) && text[i+1] == 0x80 && (text[i+2] == 0xa8 || text[i+2] == 0xa9) {
				return i + 3
			}
		}
	}
	return len(text)
}
