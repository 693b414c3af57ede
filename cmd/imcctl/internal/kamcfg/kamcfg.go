// Package kamcfg reads what a kamailio.cfg says of one module's parameters. It
// knows comments, both kinds of strings, the preprocessor's definitions and
// conditions, substitutions and included files. It is no complete parser: what it
// does not understand in the rest of the file does not matter to it.
package kamcfg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Bounds of what is read.
const (
	maxDepth = 10      // of files that include files, and of definitions in definitions
	maxFile  = 4 << 20 // bytes
	maxFiles = 100
)

// directives are the preprocessor's words, all spellings.
var directives = set("define", "def", "trydefine", "trydef", "redefine", "redef", "defenv", "defenvs", "trydefenv", "trydefenvs",
	"defexp", "defexps", "subst", "substdef", "substdefs", "ifdef", "ifndef", "ifexp", "else", "endif", "include_file", "import_file")

// escapes of double-quoted strings; a line end after a backslash is dropped.
var escapes = map[byte]string{'n': "\n", 'r': "\r", 'a': "\a", 't': "\t", '"': `"`, '\\': `\`, '\n': ""}

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

// Param is one parameter as a modparam line sets it.
type Param struct {
	Name  string
	Value string
	File  string
	Line  int
}

// Note is something that could not be understood, or that the reader should know.
type Note struct {
	File string
	Line int
	Text string
}

// Result is what was found.
type Result struct {
	Params  []Param           // in the order of the lines; the last of a name counts
	Defines map[string]string // as they are at the end, by name
	Loads   []Note            // lines that load the module
	Calls   []Note            // lines that call one of the functions that were asked for
	Notes   []Note
}

// Options of Read.
type Options struct {
	Module    string              // whose parameters are wanted, like "imc"
	Functions []string            // whose calls are noted
	Defines   map[string]string   // as by kamailio -A; may be nil
	Getenv    func(string) string // for defenv; nil: nothing is set

	// Open returns an included file's text. nil: os.ReadFile.
	Open func(path string) ([]byte, error)
}

// reader reads one configuration with its included files.
type reader struct {
	o Options
	Result
	subst  []substitution
	skips  []bool // for each open condition: whether its lines are skipped
	files  int
	depth  int
	file   string
	lexer  *lexer
	pushed []token // taken before the lexer's
}

// Read reads the file at path. The error is about that file alone; what is wrong
// with others, or inside, stands in Notes.
func Read(path string, o Options) (*Result, error) {
	if o.Open == nil {
		o.Open = os.ReadFile
	}
	r := &reader{o: o, Result: Result{Defines: map[string]string{}}}
	for name, value := range o.Defines {
		r.Defines[name] = value
	}
	text, err := o.Open(path)
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", path, len(text), maxFile)
	}
	r.read(path, text)
	return &r.Result, nil
}

func (r *reader) note(line int, format string, args ...any) {
	r.Notes = append(r.Notes, Note{r.file, line, fmt.Sprintf(format, args...)})
}

// read goes through one file.
func (r *reader) read(path string, text []byte) {
	file, lexer, pushed, open := r.file, r.lexer, r.pushed, len(r.skips)
	r.file, r.lexer, r.pushed = path, newLexer(text, 1), nil
	r.depth++
	r.files++
	for t := r.next(); t.kind != tokenEnd; t = r.next() {
		if t.kind == tokenWord {
			r.statement(t)
		}
	}
	if len(r.skips) > open {
		r.note(r.lexer.line, "a condition has no #!endif")
		r.skips = r.skips[:open]
	}
	r.depth--
	r.file, r.lexer, r.pushed = file, lexer, pushed
}

// next is the next token that is not skipped by a condition and no directive.
func (r *reader) next() token {
	for {
		var t token
		if n := len(r.pushed); n > 0 {
			t, r.pushed = r.pushed[n-1], r.pushed[:n-1]
		} else {
			t = r.lexer.next()
		}
		switch {
		case t.kind == tokenDirective:
			r.directive(t)
		case t.kind == tokenEnd || !r.skipping():
			return t
		}
	}
}

func (r *reader) skipping() bool { return slices.Contains(r.skips, true) }

// statement looks at a word that may begin something of interest.
func (r *reader) statement(t token) {
	switch {
	case t.text == "modparam" || t.text == "modparamx":
		r.modparam(t)
	case t.text == "loadmodule":
		if s := r.next(); s.kind != tokenString {
			r.pushed = append(r.pushed, s)
		} else if strings.TrimSuffix(filepath.Base(r.substitute(s.text)), ".so") == r.o.Module {
			r.Loads = append(r.Loads, Note{r.file, t.line, "loadmodule"})
		}
	case t.text == "include_file" || t.text == "import_file":
		if s := r.next(); s.kind != tokenString {
			r.pushed = append(r.pushed, s)
		} else {
			r.include(t, s.text)
		}
	case slices.Contains(r.o.Functions, t.text):
		r.Calls = append(r.Calls, Note{r.file, t.line, t.text})
	}
}

// include reads another file, whose name is relative to this one's folder.
func (r *reader) include(t token, name string) {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(r.file), name)
	}
	if r.depth >= maxDepth || r.files >= maxFiles {
		r.note(t.line, "%s %q is left out: too many files include files", t.text, name)
		return
	}
	text, err := r.o.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && t.text == "import_file":
		return // it need not be there
	case err != nil:
		r.note(t.line, "%s %q cannot be read, what it sets is missing here: %v", t.text, name, err)
	case len(text) > maxFile:
		r.note(t.line, "%s %q is left out: it has more than %d bytes", t.text, name, maxFile)
	default:
		r.read(path, text)
	}
}

// modparam reads what follows that word: ("modules", "name", value).
func (r *reader) modparam(t token) {
	var parts []string
	for i, want := range []string{"(", "", ",", "", ",", "", ")"} {
		got := r.next()
		if want == "" {
			value, ok := r.value(got, maxDepth)
			if !ok {
				r.broken(t, got, i)
				return
			}
			parts = append(parts, value)
			continue
		}
		if got.kind != tokenMark || got.text != want {
			r.broken(t, got, i)
			return
		}
	}
	if !r.concerns(parts[0]) {
		return
	}
	if t.text == "modparamx" && strings.Contains(parts[2], "$") {
		r.note(t.line, "modparamx %s: variables in %q are not evaluated here", parts[1], parts[2])
	}
	r.Params = append(r.Params, Param{Name: parts[1], Value: parts[2], File: r.file, Line: t.line})
}

// broken notes a modparam line that cannot be read; got may begin something else.
func (r *reader) broken(t, got token, at int) {
	if got.kind != tokenEnd {
		r.pushed = append(r.pushed, got)
	}
	r.note(t.line, "a %s line cannot be read (at its part %d)", t.text, at+1)
}

// concerns reports whether the module is meant by what stands in modparam: names
// with | between are a regular expression for Kamailio.
func (r *reader) concerns(modules string) bool {
	if modules == r.o.Module {
		return true
	}
	re, err := regexp.CompilePOSIX("^(" + strings.ToLower(modules) + ")$")
	return err == nil && re.MatchString(r.o.Module)
}

// value is what a token stands for as a parameter: a string, a number, or what a
// word is defined as.
func (r *reader) value(t token, depth int) (string, bool) {
	switch {
	case t.kind == tokenString:
		return r.substitute(t.text), true
	case t.kind == tokenMark && t.text == "-":
		n := r.next()
		return "-" + n.text, n.kind == tokenWord
	case t.kind != tokenWord || depth == 0:
		return "", false
	}
	text, defined := r.Defines[t.text]
	if !defined {
		return t.text, isNumber(t.text)
	}
	l := newLexer([]byte(text), t.line)
	first := l.next()
	if l.next().kind != tokenEnd {
		return "", false
	}
	return r.value(first, depth-1)
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == "" ||
		len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") && strings.Trim(s[2:], "0123456789abcdefABCDEF") == ""
}
