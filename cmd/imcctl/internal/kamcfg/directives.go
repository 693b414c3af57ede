package kamcfg

import (
	"regexp"
	"strings"
)

// substitution is one #!subst.
type substitution struct {
	re   *regexp.Regexp
	with string // in Go's form
	all  bool
}

// directive carries out a line of the preprocessor.
func (r *reader) directive(t token) {
	for _, d := range []struct {
		words string
		run   func(t token)
		cond  bool // is carried out also where lines are skipped
	}{
		{"ifdef ifndef ifexp", r.open, true},
		{"else", r.otherwise, true},
		{"endif", r.end, true},
		{"define def trydefine trydef redefine redef", r.define, false},
		{"defenv defenvs trydefenv trydefenvs", r.defineEnv, false},
		{"defexp defexps", r.defineExp, false},
		{"subst", r.addSubst, false},
		{"substdef substdefs", r.addSubstDef, false},
		{"include_file import_file", r.includeLine, false},
	} {
		if contains(d.words, t.text) {
			if d.cond || !r.skipping() {
				d.run(t)
			}
			return
		}
	}
}

func contains(words, word string) bool {
	for w := range strings.FieldsSeq(words) {
		if w == word {
			return true
		}
	}
	return false
}

func (r *reader) open(t token) {
	skip := false
	switch name, _, _ := strings.Cut(t.rest, " "); t.text {
	case "ifdef":
		_, defined := r.Defines[name]
		skip = !defined
	case "ifndef":
		_, skip = r.Defines[name]
	default:
		if !r.skipping() {
			r.note(t.line, "#!ifexp %s is taken as true", t.rest)
		}
	}
	if len(r.skips) < 1000 {
		r.skips = append(r.skips, skip)
	}
}

func (r *reader) otherwise(t token) {
	if n := len(r.skips); n > 0 {
		r.skips[n-1] = !r.skips[n-1]
		return
	}
	r.note(t.line, "#!else without a condition")
}

func (r *reader) end(t token) {
	if n := len(r.skips); n > 0 {
		r.skips = r.skips[:n-1]
		return
	}
	r.note(t.line, "#!endif without a condition")
}

func (r *reader) define(t token) {
	name, value := cutWord(t.rest)
	_, have := r.Defines[name]
	if name == "" || have && strings.HasPrefix(t.text, "try") {
		return
	}
	r.Defines[name] = value
}

// defineEnv is NAME or NAME=VARIABLE; with s it becomes a string.
func (r *reader) defineEnv(t token) {
	name, variable, both := strings.Cut(t.rest, "=")
	name, variable = strings.TrimSpace(name), strings.TrimSpace(variable)
	if !both {
		variable = name
	}
	_, have := r.Defines[name]
	if name == "" || have && strings.HasPrefix(t.text, "try") {
		return
	}
	value := ""
	if r.o.Getenv != nil {
		value = r.o.Getenv(variable)
	}
	if value == "" {
		r.note(t.line, "$%s is not set here, so %s is not defined", variable, name)
		return
	}
	if strings.HasSuffix(t.text, "s") {
		value = quote(value)
	}
	r.Defines[name] = value
}

func (r *reader) defineExp(t token) {
	name, _ := cutWord(t.rest)
	r.note(t.line, "#!%s %s is not evaluated here", t.text, name)
}

func (r *reader) includeLine(t token) {
	s := newLexer([]byte(t.rest), t.line).next()
	if s.kind == tokenString {
		r.include(t, s.text)
	}
}

// addSubst is "/regular expression/text/flags".
func (r *reader) addSubst(t token) {
	s := newLexer([]byte(t.rest), t.line).next()
	parts, ok := splitSubst(s)
	if !ok {
		r.note(t.line, "#!subst cannot be read")
		return
	}
	expr := parts[0]
	if strings.Contains(parts[2], "i") {
		expr = "(?i)" + expr
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		r.note(t.line, "#!subst: the regular expression %q cannot be read", parts[0])
		return
	}
	r.subst = append(r.subst, substitution{re, goTemplate(parts[1]), strings.Contains(parts[2], "g")})
}

// addSubstDef is "!NAME!text!flags": a definition and a substitution at once.
func (r *reader) addSubstDef(t token) {
	s := newLexer([]byte(t.rest), t.line).next()
	parts, ok := splitSubst(s)
	if !ok || parts[0] == "" {
		r.note(t.line, "#!%s cannot be read", t.text)
		return
	}
	value := parts[1]
	if t.text == "substdefs" {
		value = quote(value)
	}
	r.Defines[parts[0]] = value
	r.subst = append(r.subst, substitution{regexp.MustCompile(regexp.QuoteMeta(parts[0])), strings.ReplaceAll(parts[1], "$", "$$"),
		strings.Contains(parts[2], "g")})
}

// splitSubst splits at the first character, which may stand in the text after a
// backslash.
func splitSubst(s token) (parts [3]string, ok bool) {
	if s.kind != tokenString || len(s.text) < 3 {
		return parts, false
	}
	mark, n := s.text[0], 0
	for i := 1; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '\\' && i+1 < len(s.text) && s.text[i+1] == mark:
			i++
			parts[n] += string(mark)
		case c == mark && n < 2:
			n++
		default:
			parts[n] += s.text[i : i+1]
		}
	}
	return parts, n == 2
}

var backReference = regexp.MustCompile(`\\([0-9])`)

// goTemplate writes \1 as Go does.
func goTemplate(s string) string {
	return backReference.ReplaceAllString(strings.ReplaceAll(s, "$", "$$"), "$${$1}")
}

// maxString bounds a string that substitutions make longer.
const maxString = 64 << 10

// substitute applies all substitutions to a string of the file.
func (r *reader) substitute(s string) string {
	for _, sub := range r.subst {
		if len(s) > maxString {
			return s
		}
		if sub.all {
			s = sub.re.ReplaceAllString(s, sub.with)
			continue
		}
		if at := sub.re.FindStringSubmatchIndex(s); at != nil {
			s = s[:at[0]] + string(sub.re.ExpandString(nil, sub.with, s, at)) + s[at[1]:]
		}
	}
	return s
}

// cutWord splits off the first word.
func cutWord(s string) (word, rest string) {
	i := 0
	for i < len(s) && isWord(s[i]) {
		i++
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// quote makes a string of the file out of a text.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}
