package sipmsg

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// utf8Text is the type of text that was not sent as UTF-8.
const utf8Text = "text/plain;charset=utf-8"

const byteOrderMark = "\ufeff"

// readText decodes text. Plain text in an encoding, or in a charset that is no superset of
// ASCII, goes on as UTF-8, because words are put before it and because not every device
// knows the encoding. Text that cannot be decoded goes on as it came.
func (c *Content) readText() error {
	e := &c.Entity
	if len(e.Body) == 0 {
		c.Kind = Nothing
		return nil
	}
	body, err := decode(e)
	if errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("%w: more than %d bytes when decoded", ErrTooLarge, MaxText)
	}
	if err != nil {
		return nil
	}
	text, superset, ok := toUTF8(body, parameter(e.ContentType, "charset"))
	if !ok {
		return nil
	}
	if len(text) > MaxText {
		return fmt.Errorf("%w: %d bytes as UTF-8, limit is %d", ErrTooLarge, len(text), MaxText)
	}
	c.Text = strings.TrimPrefix(text, byteOrderMark)
	if IsBlank(c.Text) {
		c.Kind = Nothing
		return nil
	}
	if c.TextOK = e.IsPlain(); c.TextOK && (!superset || encoded(e)) {
		c.Entity = Entity{ContentType: utf8Text, Body: []byte(c.Text),
			Headers: e.without("Content-Encoding", "Content-Transfer-Encoding")}
	}
	return nil
}

// InPlace reports whether bytes of ASCII may be put before and behind the body of e,
// which Read has given as Content.Entity: Content.TextOK again, from the headers alone.
func InPlace(e *Entity) bool {
	if !e.IsPlain() || encoded(e) {
		return false
	}
	charset := strings.ToLower(parameter(e.ContentType, "charset"))
	if isUTF8(charset) {
		return marked(e.Body) == nil
	}
	_, superset, ok := toUTF8(e.Body, charset)
	return superset && ok
}

// InUTF8 reports whether e names UTF-8 as its charset, so that other characters than those of
// ASCII may be put before and behind its text, too.
func InUTF8(e *Entity) bool {
	switch strings.ToLower(parameter(e.ContentType, "charset")) {
	case "", "utf-8", "utf8":
		return true
	}
	return false
}

// IsBlank reports whether text has only white space and characters that nobody sees:
// those without width, marks of direction. Controls are something: a program's, maybe.
func IsBlank(text string) bool {
	for _, r := range text {
		if !IsInvisible(r) {
			return false
		}
	}
	return true
}

// IsInvisible reports whether r is white space or has no appearance of its own.
func IsInvisible(r rune) bool {
	switch {
	case r > ' ' && r < 0x7f:
		return false
	case unicode.IsSpace(r), unicode.Is(unicode.Cf, r):
		return true
	case r == 0x034f, r == 0x115f, r == 0x1160, r == 0x2800, r == 0x3164, r == 0xffa0: // fillers, and Braille without dots
		return true
	}
	return unicode.Is(unicode.Variation_Selector, r)
}

// isBinary reports whether bytes are no text in a superset of ASCII.
func isBinary(body []byte) bool { return bytes.IndexByte(body, 0) >= 0 }
