package engine

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"imcd/engine/native"
)

// How the items of a list are separated.
const (
	inLine = ", "
	below  = "\n"
)

// split makes bodies of at most limit bytes out of items, each with a header made by
// head(part, of). An item that is longer goes on in the next part.
func split(items []string, sep string, limit int, head func(n, of int) string) []string {
	space := max(limit-len(head(99, 99))-len(sep), utf8.UTFMax)
	var parts [][]string
	left := 0
	for _, item := range items {
		for {
			if len(parts) == 0 || len(item)+len(sep) > left {
				parts = append(parts, nil)
				left = space
			}
			piece := item
			if len(item) > space {
				piece = cutUTF8(item, space)
			}
			last := len(parts) - 1
			parts[last] = append(parts[last], piece)
			left -= len(piece) + len(sep)
			if item = item[len(piece):]; item == "" {
				break
			}
		}
	}
	if len(parts) == 0 {
		return []string{head(1, 1)}
	}
	lead := below
	if sep == inLine {
		lead = " "
	}
	bodies := make([]string, len(parts))
	for i, p := range parts {
		bodies[i] = head(i+1, len(parts)) + lead + strings.Join(p, sep)
	}
	return bodies
}

// cutUTF8 is the beginning of s, at most n bytes and no part of a character.
func cutUTF8(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := n; i > n-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:n]
}

// count words a number of things: 1 member, 3 members.
func (n notices) count(what string, many int) string {
	if many == 1 {
		return n.format(ofOne+what, nil)
	}
	return n.format("many_"+what, vars{"count": strconv.Itoa(many)})
}

// marked adds a remark to a name, in words.
func (n notices) marked(name string, words ...string) string {
	said := words[:0]
	for _, w := range words {
		if w != "" {
			said = append(said, n.format(w, nil))
		}
	}
	if len(said) == 0 {
		return name
	}
	return name + " (" + strings.Join(said, ", ") + ")"
}

// historyTime is the time of a message for a reader of the history at now, in UTC.
func historyTime(at, now time.Time) string {
	at, now = at.UTC(), now.UTC()
	switch {
	case at.Format(time.DateOnly) == now.Format(time.DateOnly):
		return at.Format("15:04")
	case at.Year() == now.Year():
		return at.Format("2 Jan 15:04")
	}
	return at.Format("2 Jan 2006 15:04")
}

// formatBytes words a number of bytes.
func formatBytes(n int) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 999_500:
		return fmt.Sprintf("%d kB", (n+500)/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// describe words content that is no text: (picture, 12 kB).
func (n notices) describe(contentType string, bytes int) string {
	what := mediaType(contentType)
	kind, _, _ := strings.Cut(what, "/")
	switch {
	case kind == "image" || kind == "audio" || kind == "video":
		what = n.format(kind, nil)
	case what == native.FileType:
		what = n.format("file", nil)
	default:
		what = clip(what)
	}
	return "(" + what + ", " + formatBytes(bytes) + ")"
}
