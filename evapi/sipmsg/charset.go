package sipmsg

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// toUTF8 decodes text of a charset, empty for UTF-8. superset says that bytes of ASCII
// may be added to the body as it is. ok is false if the charset is not known and the
// body looks like no text.
func toUTF8(body []byte, charset string) (text string, superset, ok bool) {
	charset = strings.ToLower(charset)
	if isUTF8(charset) {
		if e := marked(body); e != nil {
			return decodeCharset(body, e)
		}
		return string(body), true, true
	}
	switch charset {
	case "utf-16", "utf16", "unicode", "ucs-2", "iso-10646-ucs-2":
		return decodeCharset(body, utf16Of(body))
	case "utf-32", "utf32", "ucs-4", "iso-10646-ucs-4":
		return decodeCharset(body, utf32Of(body))
	case "utf-16le", "utf16le", "ucs-2le":
		return decodeCharset(body, unicode.UTF16(unicode.LittleEndian, unicode.UseBOM))
	case "utf-16be", "utf16be", "ucs-2be":
		return decodeCharset(body, unicode.UTF16(unicode.BigEndian, unicode.UseBOM))
	case "utf-32le", "ucs-4le":
		return decodeCharset(body, utf32.UTF32(utf32.LittleEndian, utf32.UseBOM))
	case "utf-32be", "ucs-4be":
		return decodeCharset(body, utf32.UTF32(utf32.BigEndian, utf32.UseBOM))
	}
	e, err := ianaindex.MIME.Encoding(charset)
	if err != nil || e == nil {
		if e, err = ianaindex.IANA.Encoding(charset); err != nil || e == nil {
			// A private name, most likely of a common charset.
			return string(body), true, utf8.Valid(body) && !isBinary(body)
		}
	}
	return decodeCharset(body, e)
}

// isUTF8 reports whether a charset is UTF-8 or a part of it.
func isUTF8(charset string) bool {
	switch charset {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return true
	}
	return false
}

func decodeCharset(body []byte, e encoding.Encoding) (text string, superset, ok bool) {
	plain, err := e.NewDecoder().Bytes(body)
	return string(plain), isSuperset(e), err == nil
}

// ascii are the characters that a superset of ASCII decodes to themselves.
const ascii = "\t\n\r !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

func isSuperset(e encoding.Encoding) bool {
	same, err := e.NewDecoder().String(ascii)
	return err == nil && same == ascii
}

// marked finds the charset of text with a byte order mark; nil for UTF-8, and for
// text without one. Bytes that are no UTF-8 may begin like that by chance; text has some
// zeros then.
func marked(body []byte) encoding.Encoding {
	switch {
	case len(body) < 2 || bytes.IndexByte(body, 0) < 0:
		return nil
	case bytes.HasPrefix(body, []byte{0xff, 0xfe, 0, 0}) && len(body)%4 == 0:
		return utf32.UTF32(utf32.LittleEndian, utf32.UseBOM)
	case bytes.HasPrefix(body, []byte{0, 0, 0xfe, 0xff}):
		return utf32.UTF32(utf32.BigEndian, utf32.UseBOM)
	case bytes.HasPrefix(body, []byte{0xff, 0xfe}):
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	case bytes.HasPrefix(body, []byte{0xfe, 0xff}):
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	}
	return nil
}

// utf16Of finds the order of bytes where it is not named: by the mark, else by the place of
// the zero bytes in common letters. By RFC 2781 the big end is first where nothing says which.
func utf16Of(body []byte) encoding.Encoding {
	zeros := [2]int{}
	for i, b := range body {
		if b == 0 {
			zeros[i%2]++
		}
	}
	order := unicode.BigEndian
	if zeros[1] > zeros[0] {
		order = unicode.LittleEndian
	}
	return unicode.UTF16(order, unicode.UseBOM)
}

// utf32Of is utf16Of for UTF-32: the byte of the big end is always zero.
func utf32Of(body []byte) encoding.Encoding {
	order := utf32.BigEndian
	if len(body) >= 4 && body[0] != 0 {
		order = utf32.LittleEndian
	}
	return utf32.UTF32(order, utf32.UseBOM)
}
