package evapi

import (
	"encoding/base64"
	"fmt"
	"strings"
)

const (
	secretHeader = "X-IMC-Secret: "

	// NewOutgoing assumes these sizes of values that only a copy or a connection knows.
	assumedURI    = 160
	assumedCallID = maxCallID
	assumedSecret = 128
)

// peer is the part of every frame that depends on the Kamailio at the other end. It is
// immutable once frames are made for it.
type peer struct {
	nextHop string // JSON-escaped
	secret  string // X-IMC-Secret header with CRLF, JSON-escaped; may be empty

	nextHop64   string
	plainSecret string // the same header, not escaped

	lane   Lane // of frames with copies: LaneRPC or LaneBatch
	direct bool // with LaneBatch: copies go straight to devices
	bySIP  bool // copies go over the Conn's sipLink; frames carry only the rest
	later  bool // bySIP is to be tried again
	fleet  bool // it knows several engines, and this one by its name
	peers  bool // it knows Kamailios of other hosts

	contacts bool // it can read the location table
	htable   bool // it keeps a table of rooms
}

// fanout is the lane as the operator knows it.
func (p *peer) fanout() Lane {
	if p.bySIP {
		return LaneSIP
	}
	return p.lane
}

// takes returns how much of Kamailio's shared memory a copy in a frame takes.
func (p *peer) takes() int {
	if p.direct {
		return routedCopy
	}
	return loopedCopy
}

var assumedPeer = &peer{
	nextHop:     strings.Repeat("x", assumedURI),
	nextHop64:   strings.Repeat("x", base64.StdEncoding.EncodedLen(assumedURI)),
	secret:      strings.Repeat("x", len(secretHeader)+assumedSecret+4),
	plainSecret: strings.Repeat("x", len(secretHeader)+assumedSecret+2),
}

// newPeer checks the values of Kamailio's welcome. An empty nextHop lets Kamailio resolve
// the recipient's URI.
func newPeer(nextHop, secret string) (*peer, error) {
	if strings.ContainsAny(nextHop, "\x00\r\n \"\\<>") || len(nextHop) > assumedURI {
		return nil, fmt.Errorf("next hop %.200q: not a SIP URI of at most %d bytes", nextHop, assumedURI)
	}
	p := &peer{lane: LaneRPC, nextHop: nextHop, nextHop64: base64.StdEncoding.EncodeToString([]byte(nextHop))}
	if secret == "" {
		return p, nil
	}
	// tm.t_uac_start would take a "!" for a substitution.
	if strings.ContainsAny(secret, "\x00\r\n!\"\\") || len(secret) > assumedSecret {
		return nil, fmt.Errorf("header secret: has one of ! \" \\ CR LF NUL, or more than %d bytes", assumedSecret)
	}
	p.plainSecret = secretHeader + secret + "\r\n"
	p.secret = string(appendJSON(nil, p.plainSecret))
	return p, nil
}
