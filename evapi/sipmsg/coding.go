package sipmsg

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
)

// maxCodings is how many encodings may have been applied to a body.
const maxCodings = 3

// decode takes the encodings of Content-Transfer-Encoding and Content-Encoding from a
// body, which it does not change. The error wraps ErrTooLarge if the result would be
// longer than MaxText.
func decode(e *Entity) ([]byte, error) {
	body := e.Body
	if len(e.Headers) == 0 {
		return body, nil
	}
	// The transfer encoding is the outer one (RFC 2045 section 6).
	codings := tokens(e.Get("Content-Encoding"))
	codings = append(codings, tokens(e.Get("Content-Transfer-Encoding"))...)
	if len(codings) > maxCodings {
		return nil, fmt.Errorf("%d encodings, limit is %d", len(codings), maxCodings)
	}
	for i := len(codings) - 1; i >= 0; i-- { // the last applied is the first to be undone
		var err error
		if body, err = uncode(codings[i], body); err != nil {
			return nil, fmt.Errorf("encoding %.20q: %w", codings[i], err)
		}
	}
	return body, nil
}

// Decode takes the encodings from a body, which it does not change. The error wraps ErrTooLarge if the result would be
// longer than MaxText.
func Decode(e *Entity) ([]byte, error) { return decode(e) }

// encoded reports whether decode has anything to do.
func encoded(e *Entity) bool {
	for _, name := range [...]string{"Content-Encoding", "Content-Transfer-Encoding"} {
		for _, coding := range tokens(e.Get(name)) {
			if !isIdentity(coding) {
				return true
			}
		}
	}
	return false
}

// isIdentity tells names of encodings that change nothing.
func isIdentity(coding string) bool {
	switch coding {
	case "identity", "7bit", "8bit", "binary":
		return true
	}
	return false
}

func uncode(coding string, body []byte) ([]byte, error) {
	switch {
	case isIdentity(coding):
		return body, nil
	case coding == "deflate":
		return inflate(body)
	case coding == "gzip" || coding == "x-gzip":
		r, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		return readAll(r)
	case coding == "base64":
		return unbase64(body)
	case coding == "quoted-printable":
		return readAll(quotedprintable.NewReader(bytes.NewReader(body)))
	}
	return nil, errors.New("not known")
}

// inflate takes zlib's format, the meaning of deflate in RFC 9110 section 8.4.1.2, and the
// bare one, which some clients send.
func inflate(body []byte) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(body))
	if err == nil {
		return readAll(r)
	}
	return readAll(flate.NewReader(bytes.NewReader(body)))
}

// unbase64 ignores white space and missing padding.
func unbase64(body []byte) ([]byte, error) {
	if len(body) > 2*MaxText {
		return nil, ErrTooLarge
	}
	packed := make([]byte, 0, len(body))
	for _, c := range body {
		if c > ' ' && c != '=' {
			packed = append(packed, c)
		}
	}
	plain := make([]byte, base64.RawStdEncoding.DecodedLen(len(packed)))
	n, err := base64.RawStdEncoding.Decode(plain, packed)
	if err != nil {
		return nil, err
	}
	if n > MaxText {
		return nil, ErrTooLarge
	}
	return plain[:n], nil
}

// readAll reads at most MaxText bytes.
func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxText+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxText {
		return nil, ErrTooLarge
	}
	return b, nil
}

// tokens splits a list at commas; comments and parameters of a token are left out.
func tokens(list string) []string {
	var all []string
	for t := range strings.SplitSeq(list, ",") {
		if i := strings.IndexAny(t, ";("); i >= 0 {
			t = t[:i]
		}
		if t = strings.ToLower(strings.TrimSpace(t)); t != "" {
			all = append(all, t)
		}
		if len(all) > maxCodings {
			break
		}
	}
	return all
}
