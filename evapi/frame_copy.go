package evapi

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrBadCopy is wrapped by Conn.Send for a To, Call-ID or Dest that must not stand in a
// header. Sending the same copy again is of no use.
var ErrBadCopy = errors.New("evapi: copy is not fit to be sent")

// Copy is one MESSAGE to one recipient.
type Copy struct {
	Out    *Outgoing // shared by all copies of one message; immutable
	To     string    // SIP URI, request URI and To alike
	CallID string    // unique; the Result carries it
	// Dest is where Kamailio's routing sends the copy, whatever To's host is: a SIP URI with
	// an IP address, as in sip:192.0.2.7:5060;transport=tcp. Empty: Kamailio finds it out.
	Dest string
	// Device is the GRUU of a device (see there), which alone gets the copy. It has no Dest. Empty: Kamailio sends
	// it to all devices of To.
	Device string
	Dialog *Dialog // of a BYE; nil: the request is outside of dialogs
	First  bool    // answers: goes ahead of copies without it
}

// gruuParam ends the request URI of a copy for one device. imc.cfg tells the device with the outcome of a copy that
// has these parameters; Kamailio ignores the first.
const gruuParam = ";imc;gr"

// uriSize is the length of the request URI for a recipient and Copy.Device.
func uriSize(to, device string) int {
	if device == "" {
		return len(to)
	}
	return len("sip:") + len(device) + len(to) + len(gruuParam) // at most
}

// appendURI appends the request URI: to, or the GRUU of a device of that user.
func appendURI(dst []byte, to, device string) []byte {
	if device == "" {
		return append(dst, to...)
	}
	dst = append(append(dst, "sip:"...), device...)
	host, _, _ := strings.Cut(to[strings.LastIndexByte(to, '@'):], ";") // to may be another GRUU of the device
	return append(append(dst, host...), gruuParam...)
}

const (
	destHeader = "X-IMC-Dest: "
	maxDest    = 100 // of Copy.Dest: an IPv6 address with port and transport has 70
)

// checkCopy refuses a To, Call-ID or Dest that could end its header or its JSON string.
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
	if c.Device != "" && (!isGRUU(c.Device) || c.Dest != "" || strings.IndexByte(c.To, '@') < 0 ||
		uriSize(c.To, c.Device) > maxURI-2) {
		return fmt.Errorf("%w: Device %.*q is no GRUU of a user", ErrBadCopy, maxGRUU, c.Device)
	}
	if i := indexUnsafe(c.CallID); i >= 0 {
		return fmt.Errorf("%w: byte %q in Call-ID", ErrBadCopy, c.CallID[i])
	}
	return c.Dialog.check()
}

// frameParts are the parts of a frame with one copy that all copies share.
type frameParts struct {
	from    []byte // JSON: from `From:` to `To: <`; imc.send: base64
	headers []byte // JSON: headers and body, to `"id":`; imc.send: nil
	body    []byte // imc.send: base64
}

// framed returns the shared parts of a frame with one copy.
func (o *Outgoing) framed() *frameParts {
	if p := o.frame.Load(); p != nil {
		return p
	}
	p := &frameParts{}
	if enc := base64.StdEncoding; o.bySend {
		p.from = enc.AppendEncode(nil, []byte(o.fromValue()))
		p.body = enc.AppendEncode(nil, o.bodyBytes())
	} else {
		p.from = append(appendJSON([]byte(jsonFrom), o.fromValue()), jsonTo...)
		p.headers = appendJSON(make([]byte, 0, o.escaped+len(jsonBody)+len(jsonID)), o.headerLines())
		p.headers = append(p.headers, jsonBody...)
		p.headers = appendJSON(p.headers, o.bodyBytes())
		p.headers = append(p.headers, jsonID...)
	}
	o.frame.Store(p)
	return p
}

// These stand between the shared parts of tm.t_uac_start.
const (
	jsonFrom = `From: `
	jsonTo   = `\r\nTo: <`
	jsonBody = `","`
	jsonID   = `"],"id":`
)

// size is the length of the payload for a recipient URI and a Call-ID of the given
// lengths, at most.
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

// deviceSize is how many more bytes a request URI with Copy.Device takes, as text or as base64, at most.
func deviceSize(device string) int {
	if device == "" {
		return 0
	}
	return base64.StdEncoding.EncodedLen(len("sip:") + len(device) + len(gruuParam))
}

// destSize is the length of the header for Copy.Dest, as text or as base64, at most.
func destSize(dest string) int {
	if dest == "" {
		return 0
	}
	return base64.StdEncoding.EncodedLen(len(destHeader) + len(dest) + 4)
}

// appendCopy appends the payload of one copy. To, Call-ID and Device have passed checkCopy, so
// there is nothing in them to escape.
func (o *Outgoing) appendCopy(dst []byte, e *entry, id uint32, p *peer) []byte {
	if o.bySend {
		return o.appendSend(dst, e, id, p)
	}
	to, callID, dest := e.to, e.callID, e.dest
	parts := o.framed()
	dst = append(dst, uacStart...)
	dst = appendURI(dst, to, e.device)
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

func (o *Outgoing) appendSend(dst []byte, e *entry, id uint32, p *peer) []byte {
	enc, parts := base64.StdEncoding, o.framed()
	to, callID, dest := e.to, e.callID, e.dest
	headers := make([]byte, 0, o.headers+len(p.plainSecret)+destSize(dest))
	headers = append(headers, o.headerLines()...)
	if dest != "" {
		headers = append(headers, destHeader+dest+"\r\n"...)
	}
	headers = append(headers, p.plainSecret...)

	dst = append(dst, imcSend...)
	dst = strconv.AppendUint(dst, uint64(id), 10)
	dst = append(dst, paramSep...)
	dst = enc.AppendEncode(dst, appendURI(nil, to, e.device))
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

// Frame returns the payload of the frame that takes o to one recipient, for a Kamailio
// without next hop and header secret: for tests, and to look at it. To and callID must be
// fit to be sent.
func (o *Outgoing) Frame(to, callID string) []byte {
	return o.appendCopy(nil, &entry{to: to, callID: callID}, 0, &peer{})
}
