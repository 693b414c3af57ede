package kamcfg

import (
	"slices"
	"strings"
)

// directive carries out a line of the preprocessor. What would need a preprocessor of its
// own, like regular expressions and the environment, is left to a person.
func (s *scan) directive(t token) {
	name, value, _ := strings.Cut(strings.ReplaceAll(t.text, "\t", " "), " ")
	_, defined := s.Defines[name]
	last := len(s.skips) - 1
	skipped := slices.Contains(s.skips, true)
	switch t.directive {
	case "ifdef":
		s.skips = append(s.skips, !defined)
	case "ifndef":
		s.skips = append(s.skips, defined)
	case "ifexp":
		s.skips = append(s.skips, false)
	case "else", "endif":
		if last < 0 {
			s.note(t.line, "#!%s without a condition", t.directive)
			return
		}
		s.skips[last] = !s.skips[last]
		if t.directive == "endif" {
			s.skips = s.skips[:last]
		}
	}
	if skipped {
		return
	}
	switch t.directive {
	case "define", "def", "redefine", "redef":
		s.Defines[name] = strings.TrimSpace(value)
	case "trydefine", "trydef":
		if !defined {
			s.Defines[name] = strings.TrimSpace(value)
		}
	case "include_file", "import_file":
		s.include(t.line, t.directive, t.text)
	case "ifdef", "ifndef", "else", "endif":
	case "ifexp":
		s.note(t.line, "#!ifexp %s is taken as true", t.text)
	default:
		s.note(t.line, "#!%s is not followed here: %s", t.directive, t.text)
	}
}
