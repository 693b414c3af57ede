// Package kamcfg scans a kamailio.cfg for one module's parameters. It follows included
// files, simple definitions and the conditions on them. Each line that it does not
// understand, and that may concern the module, becomes a Note for a person to look at.
package kamcfg

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of the files.
const (
	maxDepth = 10      // of files that include files
	maxFile  = 4 << 20 // bytes
	maxFiles = 100
)

// Param is one parameter as a modparam line sets it.
type Param struct {
	Name  string
	Value string
	File  string
	Line  int
}

// Note names a line that a person must look at, and says why.
type Note struct {
	File string
	Line int
	Text string
}

// Result of Read.
type Result struct {
	Params  []Param           // in the order of the lines; the last of a name counts
	Defines map[string]string // as they are at the end, by name
	Loads   []Note            // lines that load the module
	Calls   []Note            // lines that call one of the functions that were asked for
	Notes   []Note
}

// Options of Read.
type Options struct {
	Module    string            // whose parameters are wanted, like "imc"
	Functions []string          // whose calls are noted
	Defines   map[string]string // as by kamailio -A; may be nil

	// Open returns a file's text. nil: os.ReadFile.
	Open func(path string) ([]byte, error)
}

// scan goes through one configuration with its included files.
type scan struct {
	o Options
	Result
	skips []bool // for each open condition: whether its lines are skipped
	files int
	depth int
	file  string
	rest  []token // of the file
}

// Read reads the file at path. The error is about that file alone; problems
// in it, or with other files, are in Notes.
func Read(path string, o Options) (*Result, error) {
	if o.Open == nil {
		o.Open = os.ReadFile
	}
	s := &scan{o: o, Result: Result{Defines: maps.Clone(o.Defines)}}
	if s.Defines == nil {
		s.Defines = make(map[string]string)
	}
	text, err := o.Open(path)
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", path, len(text), maxFile)
	}
	s.read(path, text)
	return &s.Result, nil
}

func (s *scan) note(line int, format string, args ...any) {
	s.Notes = append(s.Notes, Note{s.file, line, fmt.Sprintf(format, args...)})
}

// read goes through one file.
func (s *scan) read(path string, text []byte) {
	file, rest, open := s.file, s.rest, len(s.skips)
	s.file, s.rest = path, tokensOf(string(text))
	s.depth++
	s.files++
	for len(s.rest) > 0 {
		t := s.rest[0]
		s.rest = s.rest[1:]
		switch {
		case t.directive != "":
			s.directive(t)
		case !slices.Contains(s.skips, true):
			s.statement(t)
		}
	}
	if len(s.skips) > open {
		s.note(1+strings.Count(string(text), "\n"), "a condition has no #!endif")
		s.skips = s.skips[:open]
	}
	s.depth--
	s.file, s.rest = file, rest
}

// statement looks at a token that may begin something of interest.
func (s *scan) statement(t token) {
	switch {
	case t.text == "modparam" || t.text == "modparamx":
		s.modparam(t)
	case t.text == "loadmodule" && len(s.rest) > 0:
		if path, ok := unquote(s.rest[0].text); ok && strings.TrimSuffix(filepath.Base(path), ".so") == s.o.Module {
			s.Loads = append(s.Loads, Note{s.file, t.line, "loadmodule"})
		}
	case (t.text == "include_file" || t.text == "import_file") && len(s.rest) > 0:
		s.include(t.line, t.text, s.rest[0].text)
	case slices.Contains(s.o.Functions, t.text):
		s.Calls = append(s.Calls, Note{s.file, t.line, t.text})
	}
}

// include reads another file, whose name is relative to this one's folder.
func (s *scan) include(line int, word, quoted string) {
	name, ok := unquote(quoted)
	if !ok {
		return
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(s.file), name)
	}
	if s.depth >= maxDepth || s.files >= maxFiles {
		s.note(line, "%s %q is left out: too many files include files", word, name)
		return
	}
	text, err := s.o.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && word == "import_file":
		return // it need not be there
	case err != nil:
		s.note(line, "%s %q cannot be read, what it sets is missing here: %v", word, name, err)
	case len(text) > maxFile:
		s.note(line, "%s %q is left out: it has more than %d bytes", word, name, maxFile)
	default:
		s.read(path, text)
	}
}

// modparam reads the rest of such a line: ("modules", "name", value). Directives do not
// stand in one.
func (s *scan) modparam(t token) {
	const shape = "(s,s,v)"
	var parts []string
	for i := range len(shape) {
		if i >= len(s.rest) {
			s.note(t.line, "a %s line is not complete", t.text)
			return
		}
		text := s.rest[i].text
		if shape[i] != 's' && shape[i] != 'v' {
			if text != shape[i:i+1] {
				s.note(t.line, "a %s line cannot be read at %s", t.text, text)
				return
			}
			continue
		}
		value, ok := s.value(text)
		if !ok {
			s.note(t.line, "a %s line cannot be read: %s is not defined by a simple #!define", t.text, text)
			return
		}
		parts = append(parts, value)
		if !slices.Contains(strings.Split(strings.ToLower(parts[0]), "|"), s.o.Module) {
			if strings.ContainsAny(parts[0], `.*+?[(^$\`) {
				s.note(t.line, "%s %q is a pattern that is not read here: it may concern the module %s", t.text, parts[0],
					s.o.Module)
			}
			return
		}
	}
	s.rest = s.rest[len(shape):]
	if t.text == "modparamx" && strings.Contains(parts[2], "$") {
		s.note(t.line, "modparamx %s: variables in %q are not evaluated here", parts[1], parts[2])
	}
	s.Params = append(s.Params, Param{Name: parts[1], Value: parts[2], File: s.file, Line: t.line})
}

// value returns a token's value as a parameter: a string, a number, or the definition of a
// word.
func (s *scan) value(text string) (string, bool) {
	if defined, ok := s.Defines[text]; ok {
		text = defined
	}
	if value, ok := unquote(text); ok {
		return value, true
	}
	return text, number.MatchString(text)
}
