package engine

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"imcd/engine/store"
	"imcd/evapi/sipmsg"
)

// What members are called (Config.ShowNames). A user can write any display name into From: one that could
// be taken for another one is shown with the user part.

const (
	// maxNames bounds the display names that a room keeps, of members that have sent
	// something since imcd was started. Others are called by their user part.
	maxNames = 4096
	// maxShown bounds a name as it is shown, in characters.
	maxShown = 32
)

// noteName keeps the display name of a member.
func (r *room) noteName(m *member, display string) {
	n := newShownName(display, m.name())
	if n.name == "" {
		delete(r.names, m.key)
		return
	}
	if _, has := r.names[m.key]; !has && len(r.names) >= maxNames {
		return
	}
	if r.names == nil {
		r.names = make(map[string]shownName)
	}
	r.names[m.key] = n
}

// newShownName is empty for a name that says no more than the user part.
func newShownName(display string, user store.Name) shownName {
	n := shownName{name: plainName(cleanDisplay(display))}
	n.folded = foldName(n.name)
	if n.folded == "" || strings.EqualFold(n.name, user.User) {
		return shownName{}
	}
	return n
}

// plainName leaves characters out of a name that stand around names in notices: brackets,
// commas, colons, stars. Letters, digits, emoji and a few marks stay.
func plainName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.So, unicode.Sk) || strings.ContainsRune("-._'’&+/@", r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return -1
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	for utf8.RuneCountInString(s) > maxShown {
		_, n := utf8.DecodeLastRuneInString(s)
		s = strings.TrimRight(s[:len(s)-n], " ")
	}
	return s
}

// lookalikes of ASCII letters, in lower case, in the order of what they look like.
const (
	lookalikes = "аеорсухіјѕԁһӏοαντικρ01lı"
	looksLike  = "aeopcyxijsdhioavtikpoiii"
)

// foldName is equal for names that look the same to people.
func foldName(s string) string {
	alike := []rune(lookalikes)
	return strings.Map(func(r rune) rune {
		if !unicode.In(r, unicode.L, unicode.N, unicode.So) {
			return -1
		}
		for i, a := range alike {
			if a == r {
				return rune(looksLike[i])
			}
		}
		return r
	}, strings.ToLower(norm.NFKD.String(s)))
}

// folds reports whether the folded form of a user part, which is ASCII, is folded. It
// allocates nothing.
func folds(user, folded string) bool {
	at := 0
	for i := range len(user) {
		c := user[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c == '0':
			c = 'o'
		case c == '1':
			c = 'i'
		case (c < 'a' || c > 'z') && (c < '0' || c > '9'):
			continue
		}
		if c == 'l' {
			c = 'i'
		}
		if at >= len(folded) || folded[at] != c {
			return false
		}
		at++
	}
	return at == len(folded)
}

// mistakable reports whether the name of the user with a key could be taken for
// another's in the room, the room's own, or that of the service.
func (e *Engine) mistakable(r *room, key string, n shownName) bool {
	if strings.Contains(n.name, "@") || folds(r.name.User, n.folded) ||
		foldName(e.notices.format("operator", nil)) == n.folded {
		return true
	}
	for _, m := range r.order {
		if m.key == key {
			continue
		}
		if other, has := r.names[m.key]; has && other.folded == n.folded || folds(m.name().User, n.folded) {
			return true
		}
	}
	return false
}

// called is how people in r know a user with a display name.
func (e *Engine) called(r *room, user store.Name, display string) string {
	if !e.usesNames {
		return r.show(user)
	}
	return e.callBy(r, user, newShownName(display, user), e.cfg.ShowNames)
}

// calledNow is called by the display name that was last seen.
func (e *Engine) calledNow(r *room, user store.Name) string {
	if !e.usesNames {
		return r.show(user)
	}
	return e.callBy(r, user, r.names[user.Key()], e.cfg.ShowNames)
}

func (e *Engine) callBy(r *room, user store.Name, n shownName, how string) string {
	name := r.show(user)
	switch {
	case n.name == "" || how == ShowUser:
		return name
	case how == ShowBoth || e.mistakable(r, user.Key(), n):
		return n.name + " (" + name + ")"
	}
	return n.name
}

// displayed is the value of {display} in message_format.
func (e *Engine) displayed(r *room, row *store.MessageRow) string {
	if !e.usesNames || row.Sender.Key() == r.key {
		return e.author(r, row)
	}
	return e.callBy(r, row.Sender, newShownName(row.Display, row.Sender), ShowDisplay)
}

// cleanDisplay takes what could end a header or a quoted string out of a display
// name as the SIP parser gave it, with backslash escapes still in it. One that nobody can
// see is none.
func cleanDisplay(s string) string {
	var b strings.Builder
	s = strings.Trim(s, " \t\"")
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	if s = strings.TrimSpace(printable(b.String())); sipmsg.IsBlank(s) {
		return ""
	}
	for utf8.RuneCountInString(s) > maxDisplay {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// author is how people in r know the sender of a message: the service speaks as
// the room.
func (e *Engine) author(r *room, row *store.MessageRow) string {
	if row.Sender.Key() == r.key {
		return e.notices.format("operator", nil)
	}
	return e.called(r, row.Sender, row.Display)
}

// maxDisplay bounds a display name that is passed on, in characters.
const maxDisplay = 64
