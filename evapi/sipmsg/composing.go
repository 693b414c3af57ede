package sipmsg

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

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
