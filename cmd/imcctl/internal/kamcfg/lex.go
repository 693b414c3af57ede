package kamcfg

import (
	"regexp"
	"strings"
)

// token is one token of a kamailio.cfg.
type token struct {
	text      string // a string with its quotes; of a directive, the rest of the line
	directive string // word of a line of the preprocessor; empty: the token is none
	line      int
}

// tokens finds comments, directives (whose word and rest are groups), strings, words and
// numbers, and single characters. A backslash at the end of a directive adds the next line.
var tokens = regexp.MustCompile(`(?s)/\*.*?(?:\*/|\z)|//[^\n]*` +
	`|(?:#!|!!)((?:try|re)?def\w*|subst\w*|if\w+|else|endif|include_file|import_file)\b((?:\\\r?\n|[^\n])*)|#[^\n]*` +
	`|"(?:[^"\\]|\\.)*(?:"|\z)|'[^']*'|-?\w+|\S`)

// tokensOf splits a file. Comments are left out.
func tokensOf(file string) (list []token) {
	at, line := 0, 1
	for _, m := range tokens.FindAllStringSubmatchIndex(file, -1) {
		line += strings.Count(file[at:m[0]], "\n")
		at = m[0]
		text := file[m[0]:m[1]]
		switch {
		case m[2] >= 0:
			rest := strings.NewReplacer("\\\r\n", "", "\\\n", "").Replace(file[m[4]:m[5]])
			list = append(list, token{directive: file[m[2]:m[3]], text: strings.TrimSpace(rest), line: line})
		case text[0] != '#' && !strings.HasPrefix(text, "//") && !strings.HasPrefix(text, "/*"):
			list = append(list, token{text: text, line: line})
		}
	}
	return list
}

var number = regexp.MustCompile(`^-?(?:0[xX][0-9a-fA-F]+|[0-9]+)$`)

// escapes of double-quoted strings; any other backslash stays.
var escapes = strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\a`, "\a", `\t`, "\t", `\"`, `"`, `\\`, `\`, "\\\n", "")

// unquote returns the value of a string; nothing is special between single quotes.
func unquote(text string) (string, bool) {
	if len(text) < 2 || text[0] != text[len(text)-1] {
		return "", false
	}
	switch inner := text[1 : len(text)-1]; text[0] {
	case '"':
		return escapes.Replace(inner), true
	case '\'':
		return inner, true
	}
	return "", false
}
