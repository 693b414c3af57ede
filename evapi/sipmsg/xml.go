package sipmsg

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	maxXML       = 16 << 10 // bytes of a document
	maxXMLDepth  = 16
	maxXMLTokens = 1000
)

// WithoutDTD reads what d has, and refuses a document type definition: no client needs one, and nobody should have to
// ask what comes of it.
func WithoutDTD(d *xml.Decoder) *xml.Decoder { return xml.NewTokenDecoder(withoutDTD{d}) }

type withoutDTD struct{ d *xml.Decoder }

func (w withoutDTD) Token() (xml.Token, error) {
	t, err := w.d.RawToken()
	if _, is := t.(xml.Directive); is {
		return nil, errors.New("it has a document type")
	}
	return t, err
}

// walkXML calls leaf with the path of element names and the text of each element that
// has no others in it; names have no name space and stand as they are written. It is for
// small documents of clients, and refuses larger and incomplete ones.
func walkXML(b []byte, leaf func(path []string, text string) error) error {
	if len(b) > maxXML {
		return fmt.Errorf("%w: document of %d bytes, limit is %d", ErrTooLarge, len(b), maxXML)
	}
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(b, []byte(byteOrderMark))))
	d.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		raw, err := io.ReadAll(io.LimitReader(r, maxXML))
		if err != nil {
			return nil, err
		}
		text, superset, ok := toUTF8(raw, charset)
		if !ok || !superset {
			return nil, fmt.Errorf("charset %.20q is not known", charset)
		}
		return strings.NewReader(text), nil
	}
	d = WithoutDTD(d)
	var path []string
	var text strings.Builder
	rooted := false
	empty := false // the open element has had none in it
	for range maxXMLTokens {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			if len(path) > 0 {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if len(path) == maxXMLDepth {
				return fmt.Errorf("more than %d elements in each other", maxXMLDepth)
			}
			if len(path) == 0 && rooted {
				return errors.New("a second root element")
			}
			rooted = true
			path = append(path, t.Name.Local)
			empty = true
			text.Reset()
		case xml.EndElement:
			if empty {
				if err := leaf(path, strings.TrimSpace(text.String())); err != nil {
					return err
				}
			}
			path, empty = path[:len(path)-1], false
		case xml.CharData:
			text.Write(t)
		}
	}
	return fmt.Errorf("more than %d parts", maxXMLTokens)
}
