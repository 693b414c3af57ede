package schema

import (
	"strings"
	"unicode/utf8"

	"github.com/rs/zerolog"
)

// The tables may hold texts that are no names: columns may be wider than Kamailio makes
// them, and rows may be written by hand. Load leaves out a row with a name that could be
// neither stored elsewhere nor written to. The row stays in the database.

// oddShown is how many of them the log names.
const oddShown = 10

// oddRows are rows that are left out.
type oddRows struct {
	count int
	shown []string // the first of them
}

func (o *oddRows) add(name string) {
	if o.count++; len(o.shown) < oddShown {
		o.shown = append(o.shown, strings.ToValidUTF8(clipName(name), "?"))
	}
}

// line begins the log line about them. It is nil, which logs nothing, if there are none.
func (o *oddRows) line(log zerolog.Logger, table string) *zerolog.Event {
	if o.count == 0 {
		return nil
	}
	return log.Warn().Int("rows", o.count).Str("table", table).Strs("names", o.shown)
}

// clipName shortens any text for the log.
func clipName(s string) string {
	const most = 2 * maxChars
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// usableName reports whether user@host can be a user or a room.
func usableName(user, host string) bool {
	return usable(user, &notInUser) && usable(host, &notInHost)
}

// usable checks length and ASCII characters; Kamailio judges all others.
func usable(s string, not *[utf8.RuneSelf]bool) bool {
	if s == "" {
		return false
	}
	ascii := true
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf {
			ascii = false
		} else if not[c] {
			return false
		}
	}
	if ascii {
		return len(s) <= maxChars
	}
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxChars
}

// Which characters of ASCII a user part and a host of a SIP URI never have (RFC 3261
// section 25.1).
var (
	notInUser = charsNotIn("-_.!~*'()&=+$,;?/%")
	notInHost = charsNotIn("-._[]:")
)

func charsNotIn(marks string) (not [utf8.RuneSelf]bool) {
	for c := range not {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		not[c] = !letter && !strings.ContainsRune(marks, rune(c))
	}
	return not
}
