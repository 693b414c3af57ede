package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"imcd/engine/store"
	"imcd/evapi"
)

// matches reports whether Kamailio hands over requests to a user part.
func (r *roomRule) matches(user string) bool { return r.expr == nil || r.expr.MatchString(user) }

// telling reports whether the expression distinguishes rooms from users: not if it takes any word.
func (r *roomRule) telling() bool { return r.expr != nil && !r.expr.MatchString("qzxjkvbwpyfhg") }

// words describes names of rooms, for people.
func (r *roomRule) words() string {
	if r.Prefix != "" && r.expr.MatchString(r.Prefix+"garden") && !r.expr.MatchString("garden") {
		return "must begin with " + r.Prefix
	}
	return "must match " + clip(r.Expression)
}

// add takes the report of one Kamailio. An error says that its rule cannot be used.
func (s *served) add(w *evapi.Welcome) error {
	s.native = s.native || slices.Contains(w.Features, "native")
	if w.Rooms == nil {
		s.silent, s.any = true, true
		return nil
	}
	rule := roomRule{RoomRule: *w.Rooms}
	var err error
	rule.expr, err = compileRule(w.Rooms.Expression)
	s.rules = append(s.rules, rule)
	s.any = s.any || w.AnyDomain || len(w.Domains) == 0
	for _, host := range w.Domains {
		s.domains[hostKey(host)] = true
	}
	return err
}

func hostKey(host string) string { return strings.ToLower(strings.Trim(host, "[]")) }

// own reports whether a host is a domain of this service, as target, which was handed
// over, is.
func (s *served) own(host string, target store.Name) bool {
	return s.any || equalFold(host, target.Host) || s.domains[hostKey(host)]
}

// isRoom reports whether a user part may be a room's.
func (s *served) isRoom(user string) bool {
	for i := range s.rules {
		if s.rules[i].matches(user) {
			return true
		}
	}
	return s.silent || len(s.rules) == 0
}

// prefixed returns the user part with the prefix of a rule that takes it for a room's
// then; empty if none does.
func (s *served) prefixed(user string) string {
	for i := range s.rules {
		r := &s.rules[i]
		if full := r.Prefix + user; r.Prefix != "" && r.expr != nil && r.matches(full) && len(full) <= maxNamePart {
			return full
		}
	}
	return ""
}

// roomNamed reads an argument that names a room, of a request to target. A bare name
// that is no room's gets the prefix that rooms have here. With making, the room may be
// made, and must be one that can be written to; byRule is Message.ByRule: else it is the
// operator's script that decides what a room is.
func (s *served) roomNamed(arg string, target store.Name, byRule, making bool) (store.Name, *refusal) {
	name, err := ParseName(arg, target.Host)
	if err != nil {
		return store.Name{}, refuseArguments(fmt.Sprintf("Bad room '%s': %v", clip(arg), err))
	}
	if byRule && !s.isRoom(name.User) && !strings.ContainsAny(arg, "@:") {
		if full := s.prefixed(name.User); full != "" {
			name.User = full
		}
	}
	switch {
	case !making || name.Key() == target.Key():
	case !s.own(name.Host, target):
		return store.Name{}, refuseArguments(fmt.Sprintf("'%s' is not of this server", clip(arg)))
	case byRule && !s.isRoom(name.User):
		return store.Name{}, refuseArguments(
			fmt.Sprintf("'%s' cannot be a room: its name %s", clip(name.User), s.rules[0].words()))
	}
	return name, nil
}

// isRoomName reports whether what is sent to a name comes to a room of this service, or
// its manager, as far as is known.
func (s *served) isRoomName(n store.Name, target store.Name) bool {
	if !s.own(n.Host, target) {
		return false
	}
	for i := range s.rules {
		if r := &s.rules[i]; r.telling() && r.matches(n.User) {
			return true
		}
	}
	return false
}

var errRule = errors.New("is not read alike everywhere")

// compileRule compiles an expression so that it matches what Kamailio's =~ does: the C
// library's extended expressions in any case. An expression that the two may read in different
// ways is an error.
func compileRule(expr string) (*regexp.Regexp, error) {
	if err := checkRule(expr); err != nil {
		return nil, fmt.Errorf("expression %q: %w", clip(expr), err)
	}
	tree, err := syntax.Parse(expr, syntax.FoldCase|syntax.DotNL|syntax.OneLine)
	if err != nil {
		return nil, fmt.Errorf("expression %q: %w", clip(expr), err)
	}
	re, err := regexp.Compile(tree.String())
	if err != nil {
		return nil, fmt.Errorf("expression %q: %w", clip(expr), err)
	}
	return re, nil
}

var (
	ruleEscapes = ".^$*+?()[]{}|\\/-_@&=!,;~%#:"
	ruleCount   = regexp.MustCompile(`^\{[0-9]{1,3}(,([0-9]{1,3})?)?\}`)
	ruleClass   = regexp.MustCompile(`^\[:(alnum|alpha|blank|cntrl|digit|graph|lower|print|punct|space|upper|xdigit):\]`)
)

// checkRule refuses an expression that the C library and package regexp read differently.
func checkRule(expr string) error {
	first := true // at the begin of an alternative, where a repetition has nothing to repeat
	for i := 0; i < len(expr); i++ {
		c := expr[i]
		switch {
		case c < ' ' || c > '~':
			return fmt.Errorf("byte %q %w", c, errRule)
		case c == '\\':
			if i++; i >= len(expr) || strings.IndexByte(ruleEscapes, expr[i]) < 0 {
				return fmt.Errorf("an escape at %d %w", i, errRule)
			}
		case c == '[':
			n, err := checkBracket(expr[i:])
			if err != nil {
				return err
			}
			i += n - 1
		case c == '{':
			n := len(ruleCount.FindString(expr[i:]))
			if n == 0 || first {
				return fmt.Errorf("a count at %d %w", i, errRule)
			}
			i += n - 1
		case first && strings.IndexByte("*+?", c) >= 0:
			return fmt.Errorf("a repetition at %d %w", i, errRule)
		}
		first = strings.IndexByte("(|^$", c) >= 0
	}
	return nil
}

// checkBracket returns the length of the bracket expression at the begin of s.
func checkBracket(s string) (int, error) {
	i := 1
	if i < len(s) && s[i] == '^' {
		i++
	}
	for start := i; i < len(s); i++ {
		switch c := s[i]; {
		case c == ']' && i > start:
			return i + 1, nil
		case c == '\\', c < ' ', c > '~':
			return 0, fmt.Errorf("%q in brackets %w", c, errRule)
		case c == '[':
			n := len(ruleClass.FindString(s[i:]))
			if n == 0 {
				return 0, fmt.Errorf("[ in brackets %w", errRule)
			}
			i += n - 1
		}
	}
	return 0, fmt.Errorf("an open bracket %w", errRule)
}

// plainUser reports whether a user part looks like a name or a number: letters, digits
// and - _ . between them, and a + in front.
func plainUser(user string) bool {
	s := strings.TrimPrefix(user, "+")
	return s != "" && onlyOf(s, alphanum+"-_.")
}

// plainHost reports whether a host looks like a domain of the Internet or is an address.
func plainHost(host string) bool {
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || !onlyOf(l, alphanum+"-") {
			return false
		}
	}
	last := labels[len(labels)-1]
	return len(labels) > 1 && !onlyOf(last, "0123456789")
}
