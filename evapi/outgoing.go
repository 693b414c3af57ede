package evapi

import "imcd/evapi/sipmsg"

// Header is one header field of an outgoing request.
type Header = sipmsg.Header

// Content is what all copies of one outgoing MESSAGE share.
type Content struct {
	From        string   // name-addr: `"Al" <sip:room@example.org>`; no tag
	ContentType string   // empty: text/plain
	Headers     []Header // added as they are; no From, To, Call-ID, Content-Length, Content-Type
	Body        []byte   // bytes, NUL included
	Origin      any      // not sent: for Outgoing.Origin; may be nil
}

// Copy is one MESSAGE to one recipient.
type Copy struct {
	Out    *Outgoing // shared by all copies of one message; immutable
	To     string    // SIP URI, request URI and To alike
	CallID string    // unique; the Result carries it
	// Dest is where Kamailio's routing sends the copy, whatever To's host is: a SIP URI with
	// an IP address, as in sip:192.0.2.7:5060;transport=tcp. Empty: it finds that out by itself.
	Dest  string
	First bool // answers: goes ahead of copies without it
}
