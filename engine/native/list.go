package native

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"

	"imcd/evapi/sipmsg"
)

// ListType is the media type of a list of addresses.
const ListType = "application/resource-lists+xml"

// ErrTooLarge is wrapped by ReadList for a list above one of its bounds.
var ErrTooLarge = errors.New("too large")

// Bounds of a list. A document of one entry each for a thousand members has 60 KB.
const (
	maxList    = 128 << 10 // bytes
	maxEntries = 1000
	maxDepth   = 8
)

const listSpace = "urn:ietf:params:xml:ns:resource-lists"

// ReadList reads the addresses of a list (RFC 4826, 3.4) in their order, as they are written. Lists in lists are read
// as one; other elements are passed over. An error means no XML, one of the bounds, a document type definition, another
// root, or an entry without an address.
func ReadList(document []byte) ([]string, error) {
	uris, err := readList(document)
	if err != nil {
		return nil, fmt.Errorf("reading a list: %w", err)
	}
	return uris, nil
}

func readList(document []byte) (uris []string, err error) {
	if len(document) > maxList {
		return nil, fmt.Errorf("%w: %d bytes, limit is %d", ErrTooLarge, len(document), maxList)
	}
	d := sipmsg.WithoutDTD(xml.NewDecoder(bytes.NewReader(document)))
	for depth, rooted := 0, false; ; {
		t, err := d.Token()
		switch {
		case errors.Is(err, io.EOF) && rooted && depth == 0:
			return uris, nil
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		switch t := t.(type) {
		case xml.EndElement:
			depth--
		case xml.StartElement:
			if depth == 0 && (rooted || t.Name.Local != "resource-lists") {
				return nil, fmt.Errorf("the root element is %.40q, not one resource-lists", t.Name.Local)
			}
			rooted = true
			if depth++; depth > maxDepth {
				return nil, fmt.Errorf("%w: more than %d elements in each other", ErrTooLarge, maxDepth)
			}
			if t.Name.Local != "entry" || t.Name.Space != listSpace {
				continue
			}
			uri := attribute(&t, "uri")
			if uri == "" {
				return nil, errors.New("an entry has no address")
			}
			if len(uris) == maxEntries {
				return nil, fmt.Errorf("%w: more than %d entries", ErrTooLarge, maxEntries)
			}
			uris = append(uris, uri)
		}
	}
}

// attribute is the value of an attribute without a name space; empty: there is none.
func attribute(e *xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
