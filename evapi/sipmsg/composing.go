package sipmsg

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ComposingType is the media type of "is typing" (RFC 3994 section 6).
const ComposingType = "application/im-iscomposing+xml"

// Composing is an is-composing document (RFC 3994).
type Composing struct {
	Active      bool          // somebody is typing; false: not any more
	ContentType string        // of the coming message; may be empty
	Refresh     time.Duration // time to the next such document; 0: unknown
	LastActive  time.Time     // zero: unknown
}

// ParseComposing reads an application/im-iscomposing+xml body. States that the standard
// does not know are idle (RFC 3994 section 3.2).
func ParseComposing(b []byte) (Composing, error) {
	var c Composing
	known := false
	err := walkXML(b, func(path []string, text string) error {
		if len(path) != 2 || !strings.EqualFold(path[0], "isComposing") {
			return nil
		}
		switch strings.ToLower(path[1]) {
		case "state":
			known, c.Active = true, strings.EqualFold(text, "active")
		case "contenttype":
			c.ContentType = text
		case "refresh":
			if n, err := strconv.ParseUint(text, 10, 31); err == nil {
				c.Refresh = time.Duration(n) * time.Second
			}
		case "lastactive":
			c.LastActive, _ = time.Parse(time.RFC3339, text)
		}
		return nil
	})
	if err != nil {
		return Composing{}, fmt.Errorf("is-composing: %w", err)
	}
	if !known {
		return Composing{}, errors.New("is-composing: no state")
	}
	return c, nil
}

// FormatComposing writes c without the time of the last activity, in the order of the schema (RFC 3994 section 7).
func FormatComposing(c Composing) []byte {
	var b bytes.Buffer
	state := "idle"
	if c.Active {
		state = "active"
	}
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>` + state + `</state>`)
	if c.ContentType != "" {
		b.WriteString("<contenttype>")
		_ = xml.EscapeText(&b, []byte(c.ContentType)) // a buffer takes everything
		b.WriteString("</contenttype>")
	}
	if seconds := int64(c.Refresh / time.Second); seconds > 0 {
		b.WriteString("<refresh>" + strconv.FormatInt(seconds, 10) + "</refresh>")
	}
	b.WriteString("</isComposing>")
	return b.Bytes()
}
