package evapi

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrBadCopy is wrapped by Conn.Send for a To or Call-ID that must not stand in
// a header. Sending the same copy again is of no use.
var ErrBadCopy = errors.New("evapi: copy is not fit to be sent")

const (
	uacStart  = `{"jsonrpc":"2.0","method":"tm.t_uac_start","params":["MESSAGE","`
	imcSend   = `{"jsonrpc":"2.0","method":"imc.send","params":["`
	imcBatch  = `{"jsonrpc":"2.0","method":"imc.batch","params":["`
	imcReply  = `{"jsonrpc":"2.0","method":"imc.reply","params":["`
	imcLink   = `{"jsonrpc":"2.0","method":"imc.link","params":["`
	imcAnswer = `{"jsonrpc":"2.0","method":"imc.answer","params":["`
	imcLook   = `{"jsonrpc":"2.0","method":"imc.look","params":[""]}`
	imcPing   = `{"jsonrpc":"2.0","method":"imc.ping","params":["`
	paramSep  = `","`
	paramsEnd = `"]}`
	idDigits  = 10 // of the largest frame id
)

// peer is what frames need to know of the Kamailio at the other end. It is
// immutable.
type peer struct {
	nextHop string // JSON-escaped
	secret  string // X-IMC-Secret header with CRLF, JSON-escaped; may be empty

	nextHop64   string
	plainSecret string // the same header, not escaped

	lane  Lane // of frames with copies: LaneRPC, LaneBatch or LaneDirect
	bySIP bool // copies go over the Conn's sipLink; frames have only what cannot
	later bool // it is to be tried again whether they can
}

// fanout is the lane as the operator knows it.
func (p *peer) fanout() Lane {
	if p.bySIP {
		return LaneSIP
	}
	return p.lane
}

// takes is what a copy in a frame takes of Kamailio's shared memory.
func (p *peer) takes() int {
	if p.lane == LaneDirect {
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

// newPeer checks what Kamailio's welcome says. An empty nextHop lets Kamailio
// resolve the recipient's URI.
func newPeer(nextHop, secret string) (*peer, error) {
	if strings.ContainsAny(nextHop, "\x00\r\n \"\\<>") || len(nextHop) > assumedURI {
		return nil, fmt.Errorf("next hop %.200q: not a SIP URI of at most %d bytes", nextHop, assumedURI)
	}
	p := &peer{lane: LaneRPC, nextHop: nextHop, nextHop64: base64.StdEncoding.EncodeToString([]byte(nextHop))}
	if secret == "" {
		return p, nil
	}
	// A "!" would be taken for a substitution, see NewOutgoing.
	if strings.ContainsAny(secret, "\x00\r\n!\"\\") || len(secret) > assumedSecret {
		return nil, fmt.Errorf("header secret: has one of ! \" \\ CR LF NUL, or more than %d bytes", assumedSecret)
	}
	p.plainSecret = secretHeader + secret + "\r\n"
	p.secret = string(appendJSON(nil, p.plainSecret))
	return p, nil
}

// size is the length of the payload for a recipient URI and a Call-ID of the
// given lengths, at most.
func (o *Outgoing) size(to, callID int, p *peer) int {
	if !o.bySend {
		return len(uacStart) + to + len(paramSep) + len(p.nextHop) + len(`",".","`) +
			len(jsonFrom) + len(jsonTo) + to + len(`>\r\nCall-ID: `) + callID + len(`\r\n`) + len(p.secret) +
			o.escaped + len(jsonBody) + len(jsonID) + idDigits + len("}")
	}
	enc := base64.StdEncoding.EncodedLen
	return len(imcSend) + idDigits + 7*len(paramSep) + enc(to) + len(p.nextHop64) + enc(callID) +
		enc(len(o.fromValue())) + enc(to+2) + enc(o.headers+len(p.plainSecret)) + enc(o.body) + len(paramsEnd)
}

// destRoom is what the header for Copy.Dest adds to a copy, as text or as base64, at most.
func destRoom(dest string) int {
	if dest == "" {
		return 0
	}
	return base64.StdEncoding.EncodedLen(len(destHeader) + len(dest) + 4)
}

// appendCopy appends the payload of one copy. To and Call-ID have passed
// checkCopy, so there is nothing in them to escape.
func (o *Outgoing) appendCopy(dst []byte, to, callID, dest string, id uint32, p *peer) []byte {
	if o.bySend {
		return o.appendSend(dst, to, callID, dest, id, p)
	}
	parts := o.framed()
	dst = append(dst, uacStart...)
	dst = append(dst, to...)
	dst = append(dst, paramSep...)
	dst = append(dst, p.nextHop...)
	dst = append(dst, `",".","`...)
	dst = append(dst, parts.from...)
	dst = append(dst, to...)
	dst = append(dst, `>\r\nCall-ID: `...)
	dst = append(dst, callID...)
	dst = append(dst, `\r\n`...)
	if dest != "" {
		dst = append(dst, destHeader...)
		dst = append(dst, dest...)
		dst = append(dst, `\r\n`...)
	}
	dst = append(dst, p.secret...)
	dst = append(dst, parts.headers...)
	dst = strconv.AppendUint(dst, uint64(id), 10)
	return append(dst, '}')
}

func (o *Outgoing) appendSend(dst []byte, to, callID, dest string, id uint32, p *peer) []byte {
	enc, parts := base64.StdEncoding, o.framed()
	headers := make([]byte, 0, o.headers+len(p.plainSecret)+destRoom(dest))
	headers = append(headers, o.headerLines()...)
	if dest != "" {
		headers = append(headers, destHeader+dest+"\r\n"...)
	}
	headers = append(headers, p.plainSecret...)

	dst = append(dst, imcSend...)
	dst = strconv.AppendUint(dst, uint64(id), 10)
	dst = append(dst, paramSep...)
	dst = enc.AppendEncode(dst, []byte(to))
	dst = append(dst, paramSep...)
	dst = append(dst, p.nextHop64...)
	dst = append(dst, paramSep...)
	dst = enc.AppendEncode(dst, []byte(callID))
	dst = append(dst, paramSep...)
	dst = append(dst, parts.from...)
	dst = append(dst, paramSep...)
	dst = enc.AppendEncode(dst, []byte("<"+to+">"))
	dst = append(dst, paramSep...)
	dst = enc.AppendEncode(dst, headers)
	dst = append(dst, paramSep...)
	dst = append(dst, parts.body...)
	return append(dst, paramsEnd...)
}

// checkCopy refuses a To or Call-ID that could end its header or its JSON string.
func checkCopy(c *Copy) error {
	if c.Out == nil {
		return fmt.Errorf("%w: no Outgoing", ErrBadCopy)
	}
	if c.To == "" || len(c.To) > maxURI-2 {
		return fmt.Errorf("%w: To has %d bytes", ErrBadCopy, len(c.To))
	}
	if c.CallID == "" || len(c.CallID) > maxCallID {
		return fmt.Errorf("%w: Call-ID has %d bytes", ErrBadCopy, len(c.CallID))
	}
	if i := indexUnsafe(c.Dest); i >= 0 || strings.IndexByte(c.Dest, '!') >= 0 || len(c.Dest) > maxDest {
		return fmt.Errorf("%w: Dest %.*q is no SIP URI of at most %d bytes", ErrBadCopy, maxDest, c.Dest, maxDest)
	}
	if i := indexUnsafe(c.To); i >= 0 {
		return fmt.Errorf("%w: byte %q in To", ErrBadCopy, c.To[i])
	}
	if i := indexUnsafe(c.CallID); i >= 0 {
		return fmt.Errorf("%w: byte %q in Call-ID", ErrBadCopy, c.CallID[i])
	}
	return nil
}

func indexUnsafe(s string) int {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c <= ' ' || c == 0x7f || c == '"' || c == '\\' || c == '<' || c == '>':
			return i
		}
	}
	return -1
}

// cut returns the first n bytes of s at most, without a character in pieces at their end.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for back := 1; back < utf8.UTFMax && n > 0 && !utf8.RuneStart(s[n]); back++ {
		n--
	}
	return s[:n]
}

// maxReason keeps a reply small.
const maxReason = 128

// appendReply appends the payload of imc.reply.
func appendReply(dst []byte, tx TxID, a Answer) ([]byte, error) {
	if a.Code < 200 || a.Code > 699 {
		return nil, fmt.Errorf("evapi: reply: code %d is no final SIP status", a.Code)
	}
	reason := strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return ' '
		}
		return r
	}, a.Reason)
	reason = cut(reason, maxReason)
	retry := min((a.RetryAfter+time.Second-1)/time.Second, math.MaxInt32)
	dst = append(dst, imcReply...)
	// The script's s.int reads signed 32 bits only.
	for _, n := range []int64{int64(int32(tx.Index)), int64(int32(tx.Label)), int64(a.Code), int64(a.RC), max(int64(retry), 0)} {
		dst = strconv.AppendInt(dst, n, 10)
		dst = append(dst, paramSep...)
	}
	dst = base64.StdEncoding.AppendEncode(dst, []byte(reason))
	if a.Unsupported != "" {
		if err := checkValue("Unsupported", a.Unsupported); err != nil {
			return nil, err
		}
		if len(a.Unsupported) > maxUnsupported {
			return nil, fmt.Errorf("%w: Unsupported has %d bytes, limit is %d", ErrTooLarge, len(a.Unsupported), maxUnsupported)
		}
		dst = append(dst, paramSep...)
		dst = base64.StdEncoding.AppendEncode(dst, []byte("Unsupported: "+a.Unsupported+"\r\n"))
	}
	return append(dst, paramsEnd...), nil
}

// maxUnsupported keeps an Unsupported header small.
const maxUnsupported = 256

// appendAnswer appends the payload of imc.answer.
func appendAnswer(dst []byte, tag string, json []byte) ([]byte, error) {
	if !isToken(tag) || len(tag) > 64 {
		return nil, fmt.Errorf("evapi: answer: tag %.64q is no token of at most 64 bytes", tag)
	}
	dst = append(dst, imcAnswer...)
	dst = append(dst, tag...)
	dst = append(dst, paramSep...)
	dst = base64.StdEncoding.AppendEncode(dst, json)
	dst = append(dst, paramsEnd...)
	if len(dst) > maxPayload {
		return nil, fmt.Errorf("%w: answer of %d bytes takes %d, limit is %d", ErrTooLarge, len(json), len(dst), maxPayload)
	}
	return dst, nil
}

// appendPing appends the payload of imc.ping.
func appendPing(dst []byte, id uint64) []byte {
	dst = append(dst, imcPing...)
	dst = strconv.AppendUint(dst, id, 10)
	return append(dst, paramsEnd...)
}

// appendLink appends the payload of imc.link: where copies come from by SIP, and where they go
// from there; an empty hop leaves that to Kamailio.
func appendLink(dst []byte, from netip.AddrPort, hop string) []byte {
	dst = strconv.AppendUint(append(dst, imcLink...), uint64(from.Port()), 10)
	dst = append(dst, paramSep...)
	dst = base64.StdEncoding.AppendEncode(dst, []byte(hop))
	dst = append(dst, paramSep...)
	dst = from.Addr().AppendTo(dst)
	return append(dst, paramsEnd...)
}

// helloPayload is the first frame of a connection.
func helloPayload(secret string) []byte { return []byte("hello " + secret) }

// checkSecret refuses what the routing script could not compare.
func checkSecret(secret string) error {
	if secret == "" || len(secret) > 128 {
		return fmt.Errorf("evapi: secret has %d characters, not 1 to 128", len(secret))
	}
	for i := 0; i < len(secret); i++ {
		if c := secret[i]; c <= ' ' || c > '~' || strings.IndexByte(`"'\,`, c) >= 0 {
			return fmt.Errorf("evapi: secret: character %d is not allowed (printable ASCII without space, quotes, backslash, comma)", i+1)
		}
	}
	return nil
}
