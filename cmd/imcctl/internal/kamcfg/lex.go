package kamcfg

import (
	"bytes"
	"strconv"
	"strings"
)

// kind is what a token is.
type kind uint8

const (
	tokenEnd kind = iota
	tokenWord
	tokenString
	tokenMark      // anything else, one byte
	tokenDirective // a preprocessor line; text is its word, rest what follows
)

// token is one token of a kamailio.cfg.
type token struct {
	kind kind
	text string
	rest string
	line int
}

// lexer splits a kamailio.cfg into tokens, by the rules of Kamailio 5.6's own.
type lexer struct {
	in   []byte
	at   int
	line int
}

func newLexer(text []byte, line int) *lexer { return &lexer{in: text, line: line} }

// next returns the next token; at the end of the input always tokenEnd.
func (l *lexer) next() token {
	for l.at < len(l.in) {
		line := l.line
		rest := l.in[l.at:]
		switch c := rest[0]; {
		case c == '\n' || c == ' ' || c == '\t' || c == '\r':
			l.skip(1)
		case bytes.HasPrefix(rest, []byte("/*")):
			l.comment()
		case bytes.HasPrefix(rest, []byte("//")):
			l.rest()
		case bytes.HasPrefix(rest, []byte("#!")) || bytes.HasPrefix(rest, []byte("!!")):
			l.skip(2)
			if word := l.word(); directives[word] {
				return token{kind: tokenDirective, text: word, rest: l.rest(), line: line}
			}
			if c == '#' {
				l.rest() // a comment after all
			}
		case c == '#':
			l.rest()
		case c == '"':
			return token{kind: tokenString, text: l.quoted(), line: line}
		case c == '\'':
			return token{kind: tokenString, text: l.ticked(), line: line}
		case isWord(c):
			return token{kind: tokenWord, text: l.word(), line: line}
		default:
			l.skip(1)
			return token{kind: tokenMark, text: string(c), line: line}
		}
	}
	return token{kind: tokenEnd, line: l.line}
}

// skip moves on by n bytes, which there must be.
func (l *lexer) skip(n int) {
	l.line += bytes.Count(l.in[l.at:l.at+n], []byte("\n"))
	l.at += n
}

// comment skips a comment; they nest.
func (l *lexer) comment() {
	depth := 0
	for l.at < len(l.in) {
		switch rest := l.in[l.at:]; {
		case bytes.HasPrefix(rest, []byte("/*")):
			depth++
			l.skip(2)
		case bytes.HasPrefix(rest, []byte("*/")):
			depth--
			l.skip(2)
			if depth == 0 {
				return
			}
		default:
			l.skip(1)
		}
	}
}

// rest takes what is left of the line; a backslash at its end adds the next.
func (l *lexer) rest() string {
	var b strings.Builder
	for l.at < len(l.in) {
		rest := l.in[l.at:]
		if bytes.HasPrefix(rest, []byte("\\\n")) {
			l.skip(2)
			continue
		}
		if bytes.HasPrefix(rest, []byte("\\\r\n")) {
			l.skip(3)
			continue
		}
		if rest[0] == '\n' {
			break
		}
		b.WriteByte(rest[0])
		l.skip(1)
	}
	return strings.TrimSpace(b.String())
}

func (l *lexer) word() string {
	start := l.at
	for l.at < len(l.in) && isWord(l.in[l.at]) {
		l.at++
	}
	return string(l.in[start:l.at])
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// ticked takes a string in single quotes, in which nothing is special.
func (l *lexer) ticked() string {
	l.skip(1)
	start := l.at
	end := bytes.IndexByte(l.in[start:], '\'')
	if end < 0 {
		l.skip(len(l.in) - start)
		return string(l.in[start:])
	}
	l.skip(end + 1)
	return string(l.in[start : start+end])
}

// quoted takes a string in double quotes, and those that stand directly behind it.
func (l *lexer) quoted() string {
	var b []byte
	for {
		l.skip(1)
		for l.at < len(l.in) && l.in[l.at] != '"' {
			b = l.char(b)
		}
		if l.at < len(l.in) {
			l.skip(1)
		}
		next := bytes.TrimLeft(l.in[l.at:], " \t\r\n")
		if len(next) == 0 || next[0] != '"' {
			return string(b)
		}
		l.skip(len(l.in) - l.at - len(next))
	}
}

// char takes one character of a double-quoted string.
func (l *lexer) char(b []byte) []byte {
	rest := l.in[l.at:]
	if rest[0] != '\\' || len(rest) == 1 {
		l.skip(1)
		return append(b, rest[0])
	}
	if plain, ok := escapes[rest[1]]; ok {
		l.skip(2)
		return append(b, plain...)
	}
	digits, base, skip := rest[1:], 8, 1
	if rest[1] == 'x' {
		digits, base, skip = rest[2:], 16, 2
	}
	n := countDigits(digits, base)
	if base == 8 && n < 2 || n == 0 { // one octal digit is a back reference
		l.skip(1)
		return append(b, '\\')
	}
	v, _ := strconv.ParseUint(string(digits[:n]), base, 32) // they are digits
	l.skip(skip + n)
	return append(b, byte(v))
}

// countDigits counts the digits in front, as many as an escape can have.
func countDigits(b []byte, base int) int {
	most, set := 3, "01234567"
	if base == 16 {
		most, set = 2, "0123456789abcdefABCDEF"
	}
	n := 0
	for n < most && n < len(b) && strings.IndexByte(set, b[n]) >= 0 {
		n++
	}
	return n
}
