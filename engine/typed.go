package engine

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// People type commands on phones: keyboards add spaces and full stops, turn quotes and
// dashes into typographic ones, and put characters in between that nobody sees. None
// of that makes another command.

// opening is the kind of a text by its beginning.
type opening uint8

const (
	saidText    opening = iota // a message to the room
	escapedText                // the same, behind a doubled command character
	commandText                // a command
	bareStart                  // the command character and no word right behind it
)

// readOpening returns the kind of a text, and where the rest begins: behind the command
// character, or with the second one if it is doubled. White space and characters that
// nobody sees do not count before it, nor does its full width.
func readOpening(text string, start byte) (opening, int) {
	at := leading(text, unseen)
	r, n := utf8.DecodeRuneInString(text[at:])
	if !isStart(r, start) {
		return saidText, 0
	}
	at += n
	at += leading(text[at:], invisible)
	r, n = utf8.DecodeRuneInString(text[at:])
	switch {
	case isStart(r, start):
		return escapedText, at
	case n == 0 || unicode.IsSpace(r):
		return bareStart, at
	case unicode.IsLetter(r):
		return commandText, at
	}
	return saidText, 0 // "#1 of all"
}

// isStart reports whether r is the command character.
func isStart(r rune, start byte) bool { return r == rune(start) || r == rune(start)+fullWidth }

// leading is the length of the run of such characters that text begins with.
func leading(text string, such func(rune) bool) int {
	at := strings.IndexFunc(text, func(r rune) bool { return !such(r) })
	if at < 0 {
		return len(text)
	}
	return at
}

// fullWidth is how far from an ASCII character its full-width form is (U+FF01…U+FF5E).
const fullWidth = 0xfee0

// invisible reports whether r shows nothing and takes no place: marks of direction,
// joiners, soft hyphens, byte order marks, variation selectors.
func invisible(r rune) bool {
	return r >= 0x80 && (unicode.In(r, unicode.Cf, unicode.Variation_Selector) || r == 0x34f)
}

// unseen reports whether r is invisible, white space or a control character.
func unseen(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || invisible(r) ||
		r == 0x115f || r == 0x1160 || r == 0x2800 || r == 0x3164 || r == 0xffa0 // fillers
}

// lineEnds are the characters that a phone may end a line with.
const lineEnds = "\r\n\v\f\u0085\u2028\u2029"

// firstLine is the text before the first end of a line.
func firstLine(text string) string {
	if end := strings.IndexAny(text, lineEnds); end >= 0 {
		return text[:end]
	}
	return text
}

// splitLine splits a command line, without its command character, into words. A word
// in angle brackets is taken as it stands, and a quoted one right before it is a
// display name and is dropped; angles are the indexes of such words, first is that of
// the first one, or -1.
func splitLine(line string) (words []string, first int) {
	line = strings.Map(typographic, strings.NewReplacer("—", "--").Replace(line))
	line = strings.TrimFunc(line, unseen)
	first = -1
	for line != "" {
		word, rest, angled := nextWord(line)
		line = strings.TrimLeftFunc(rest, unseen)
		switch {
		case angled && first < 0:
			first = len(words)
		case !angled && isQuoted(word) && strings.HasPrefix(line, "<"):
			continue // a display name
		case !angled:
			if word = trimWord(word); word == "" {
				continue
			}
		}
		words = append(words, word)
	}
	return words, first
}

// behind is the rest of a line behind its first n words, as it was typed.
func behind(line string, n int) string {
	for range n {
		line = strings.TrimLeftFunc(line, unseen)
		end := strings.IndexFunc(line, unicode.IsSpace)
		if end < 0 {
			return ""
		}
		line = line[end:]
	}
	return strings.TrimFunc(line, unseen)
}

// nextWord cuts the first word off a line that begins with one.
func nextWord(line string) (word, rest string, angled bool) {
	if line[0] == '<' {
		if end := strings.IndexByte(line, '>'); end > 1 {
			word, rest = line[1:end], line[end+1:]
			if next := strings.IndexFunc(rest, unicode.IsSpace); next >= 0 {
				return word, rest[next:], true // parameters of the header field, a comma
			}
			return word, "", true
		}
	}
	if line[0] == '"' {
		if end := strings.IndexByte(line[1:], '"'); end >= 0 {
			return line[:end+2], line[end+2:], false
		}
	}
	end := strings.IndexFunc(line, unicode.IsSpace)
	if angle := strings.IndexByte(line, '<'); angle > 0 && (end < 0 || angle < end) &&
		strings.IndexByte(line, '>') > angle+1 {
		end = angle
	}
	if end < 0 {
		return line, "", false
	}
	return line[:end], line[end:], false
}

func isQuoted(word string) bool {
	return len(word) > 1 && word[0] == '"' && word[len(word)-1] == '"'
}

// trimWord removes quotes around a word and the punctuation of a sentence behind it.
func trimWord(word string) string {
	for {
		was := word
		word = strings.TrimFunc(strings.TrimRight(strings.Trim(word, `"`), ".,;!?…。、"), unseen)
		if n := len(word); n > 1 && word[0] == '\'' && word[n-1] == '\'' {
			word = word[1 : n-1]
		}
		if word == was {
			return word
		}
	}
}

// typographic gives the ASCII character for what keyboards put in its place, and drops
// the invisible ones.
func typographic(r rune) rune {
	switch {
	case r < 0x80:
		return r
	case invisible(r):
		return -1
	case r >= '!'+fullWidth && r <= '~'+fullWidth:
		return r - fullWidth
	case strings.ContainsRune("“”„‟«»″", r):
		return '"'
	case strings.ContainsRune("‘’‚‛‹›′", r):
		return '\''
	case r >= 0x2010 && r <= 0x2013 || r == 0x2212:
		return '-'
	}
	return r
}
