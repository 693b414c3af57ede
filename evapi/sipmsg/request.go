package sipmsg

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// ParseRequest parses a SIP request as Kamailio handed it over. It agrees with Kamailio, which
// has already accepted and perhaps authenticated the request: no header that nobody needs is
// an error, and a From with two possible meanings is one. Only From, To, Call-ID, CSeq,
// Content-Type and Content-Length are parsed; all others are generic headers. A display name
// keeps the backslashes of its quoted string. From may be of any scheme and may lack a user
// part. Bytes after Content-Length are dropped; without Content-Length the body is the rest.
func ParseRequest(raw []byte) (req *sip.Request, err error) {
	// The bytes come from any SIP client: a mistake in the parser must not end the process.
	defer func() {
		if r := recover(); r != nil {
			req, err = nil, fmt.Errorf("parse SIP request: panic: %v", r)
		}
	}()
	msg, err := requestParser.ParseSIP(cleanHead(raw))
	if err != nil {
		return nil, fmt.Errorf("parse SIP request: %w", err)
	}
	req, ok := msg.(*sip.Request)
	if !ok {
		return nil, errors.New("parse SIP request: it is a response")
	}
	if err := checkSingle(req); err != nil {
		return nil, fmt.Errorf("parse SIP request: %w", err)
	}
	return req, nil
}

// requestParser never changes, and so is safe for concurrent use.
var requestParser = sip.NewParser(sip.WithHeadersParsers(headerParsers()))

// headerParsers is sipgo's table without the headers that the engine does not use, and with
// parsers of ours where sipgo's refuse or misread legal values.
func headerParsers() sip.HeadersParser {
	std := sip.DefaultHeadersParser()
	table := sip.HeadersParser{
		"from":           addressHeader("From", newFrom),
		"to":             optional("To", addressHeader("To", newTo)),
		"call-id":        std["call-id"],
		"cseq":           optional("CSeq", std["cseq"]),
		"content-type":   optional("Content-Type", std["content-type"]),
		"content-length": std["content-length"],
	}
	for compact, long := range map[string]string{
		"f": "from", "t": "to", "i": "call-id", "c": "content-type", "l": "content-length",
	} {
		table[compact] = table[long]
	}
	return table
}

// optional makes a generic header of one that its parser refuses.
func optional(name string, parse sip.HeaderParser) sip.HeaderParser {
	return func(field []byte, value string) (sip.Header, error) {
		h, err := parse(field, value)
		if err != nil {
			return sip.NewHeader(name, value), nil
		}
		return h, nil
	}
}

// checkSingle requires From and Call-ID and refuses a second one of the headers that may stand
// only once: Kamailio reads the first, sipgo the last.
func checkSingle(req *sip.Request) error {
	if req.From() == nil {
		return errors.New("no From header")
	}
	if req.CallID() == nil {
		return errors.New("no Call-ID header")
	}
	seen := make(map[string]bool, 6)
	for _, h := range req.Headers() {
		name := strings.ToLower(h.Name())
		switch name {
		case "from", "to", "call-id", "cseq", "content-length", "content-type":
			if seen[name] {
				return fmt.Errorf("second %s header", h.Name())
			}
			seen[name] = true
		}
	}
	return nil
}

// cleanHead returns raw with every line of the head ended by CRLF and without
// other CRs in it. Kamailio takes lone LFs for line ends, sipgo does not. The
// usual request is returned as it is.
func cleanHead(raw []byte) []byte {
	if headIsClean(raw) {
		return raw
	}
	out := make([]byte, 0, len(raw)+256)
	for rest := raw; len(rest) > 0; {
		line, after, found := bytes.Cut(rest, []byte{'\n'})
		if !found {
			return append(out, rest...)
		}
		line = bytes.TrimSuffix(line, []byte{'\r'})
		for _, b := range line {
			if b == '\r' {
				b = ' '
			}
			out = append(out, b)
		}
		out = append(out, '\r', '\n')
		rest = after
		if len(line) == 0 {
			return append(out, rest...)
		}
	}
	return out
}

func headIsClean(raw []byte) bool {
	for {
		i := bytes.IndexAny(raw, "\r\n")
		if i < 0 || raw[i] == '\n' || i+1 >= len(raw) || raw[i+1] != '\n' {
			return false
		}
		if i == 0 {
			return true
		}
		raw = raw[i+2:]
	}
}
