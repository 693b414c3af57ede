package evapi

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"time"
)

// branchDigits is the length of a transaction's number in a branch and a tag.
const branchDigits = 16

// sipFormat is the form of one link's requests. Only atPlace changes it.
type sipFormat struct {
	// own and through are Vias, up to the transaction's number in the branch: with the
	// link's address, and with Kamailio's, for requests that it passes on as they are.
	// imc.cfg knows both kinds of branches, up to their first dash, and wants those of
	// through right behind the first semicolon.
	own, through string
	kamailio     string // its address
	cookie       []byte // stands before that number, in our branches alone
}

// newSIPFormat takes the addresses of the link and of Kamailio.
func newSIPFormat(local, kamailio string) sipFormat {
	cookie := "-" + strconv.FormatUint(rand.Uint64(), 36) + "-"
	f := sipFormat{own: sipVia + local + ";branch=z9hG4bKimcopy" + cookie, kamailio: kamailio, cookie: []byte(cookie)}
	f.atPlace(0)
	return f
}

// atPlace takes the place that imc.cfg has given to this engine (Welcome.Place): by the
// number in the branch it knows whose response it is.
func (f *sipFormat) atPlace(place int) {
	mark := "imcopy"
	if place > 0 {
		mark += strconv.Itoa(place)
	}
	f.through = sipVia + f.kamailio + ";branch=z9hG4bK." + mark + string(f.cookie)
}

// Kamailio looks at no more headers than it needs, so those come first.
const (
	sipVia   = " SIP/2.0\r\nVia: SIP/2.0/UDP "
	sipTo    = "\r\nTo: <"
	sipCall  = ">\r\nCall-ID: "
	sipCSeq  = "\r\nCSeq: 1 MESSAGE\r\n" + sipHops
	sipHops  = "Max-Forwards: 70\r\n"
	sipFixed = 256 // of the above and of the Via, at most
)

// sipSize is the length of a request for a recipient URI and a Call-ID of the
// given lengths, at most.
func (o *Outgoing) sipSize(to, callID int) int {
	return sipFixed + len(o.from) + len(o.rest) + 2*to + callID
}

// size is the length of the request, at most.
func (tx *sipTx) size() int {
	return tx.out.sipSize(len(tx.to), len(tx.callID)) + destSize(tx.dest) + deviceSize(tx.device) + tx.dialog.size()
}

// appendRequest appends the request of a transaction; through if Kamailio passes it on as
// it is. To and Call-ID have passed checkCopy. The tag is a new one each time, as the branch
// is: with the same tag, a copy that is sent again would be a loop for a recipient that
// still has the first (RFC 3261, 8.2.2.2).
func (f *sipFormat) appendRequest(dst []byte, tx *sipTx, through bool) []byte {
	if !tx.out.isMessage() {
		return f.appendOther(dst, tx, tx.out.method, tx.branch, tx.dialog)
	}
	dst = append(dst, "MESSAGE "...)
	dst = appendURI(dst, tx.to, tx.device)
	if through {
		dst = append(dst, f.through...)
		dst = appendBranch(dst, tx.branch)
		// A device that answers to the source of the request is heard, whatever socket it left from.
		dst = append(dst, ";rport"...)
	} else {
		dst = append(dst, f.own...)
		dst = appendBranch(dst, tx.branch)
	}
	dst = append(dst, tx.out.from...)
	dst = appendBranch(dst, tx.branch)
	dst = append(dst, sipTo...)
	dst = append(dst, tx.to...)
	dst = append(dst, sipCall...)
	dst = append(dst, tx.callID...)
	dst = append(dst, sipCSeq...)
	if tx.dest != "" {
		dst = append(dst, destHeader...)
		dst = append(dst, tx.dest...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, tx.out.rest...)
}

// appendOptions appends a request that Kamailio answers by itself, if it knows the link.
func (f *sipFormat) appendOptions(dst []byte, branch uint64) []byte {
	dst = append(dst, "OPTIONS sip:imc@localhost"...)
	dst = append(dst, f.own...)
	dst = appendBranch(dst, branch)
	dst = append(dst, sipFrom+"<sip:imc@localhost>"+sipTag...)
	dst = appendBranch(dst, branch)
	dst = append(dst, sipTo+"sip:imc@localhost>\r\nCall-ID: imc-"...)
	dst = appendBranch(dst, branch)
	return append(dst, "\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"...)
}

// appendBranch appends a transaction's number, always in branchDigits digits.
func appendBranch(dst []byte, branch uint64) []byte {
	var b [8]byte
	for i := range b {
		b[i] = byte(branch >> (56 - 8*i))
	}
	return hex.AppendEncode(dst, b[:])
}

// sipReply holds the parts of a response that count.
type sipReply struct {
	code       int
	reason     []byte // in the parsed buffer, as head is
	head       []byte // the headers
	branch     uint64
	retryAfter time.Duration // 0 if absent
	noVia      bool          // only its From had the branch
}

// parseReply finds the parts that count in a response to one of our requests; ok is false
// if it is none. It looks at no more than that: there is a response for each copy.
func (f *sipFormat) parseReply(b []byte) (r sipReply, ok bool) {
	const version = "SIP/2.0 "
	if !bytes.HasPrefix(b, []byte(version)) {
		return r, false
	}
	head, _, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	status, head, _ := bytes.Cut(head[len(version):], []byte("\r\n"))
	code, reason, _ := bytes.Cut(status, []byte(" "))
	for _, c := range code {
		if c < '0' || c > '9' {
			return r, false
		}
		r.code = 10*r.code + int(c-'0')
	}
	digits := f.branchIn(head)
	if r.noVia = digits == nil; r.noVia {
		digits = tagWithoutVia(head)
	}
	if len(code) != 3 || r.code < 100 || r.code > 699 || digits == nil {
		return r, false
	}
	var number [branchDigits / 2]byte
	if _, err := hex.Decode(number[:], digits); err != nil {
		return r, false
	}
	for _, c := range number {
		r.branch = r.branch<<8 | uint64(c)
	}
	r.reason, r.head = reason, head
	if r.code >= 300 {
		r.retryAfter = retryAfterIn(head)
	}
	return r, true
}

// branchIn finds a transaction's number in a Via; nil if there is none of ours.
func (f *sipFormat) branchIn(head []byte) []byte {
	i := bytes.Index(head, f.cookie)
	if i < 0 || len(head)-i < len(f.cookie)+branchDigits {
		return nil
	}
	return head[i+len(f.cookie):][:branchDigits]
}

// tagWithoutVia finds the number in the tag of From, for a response without any Via; nil if
// it has one. Kamailio's topos module of 5.6 makes such responses to MESSAGE.
func tagWithoutVia(head []byte) (digits []byte) {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch name = bytes.TrimRight(name, " \t"); {
		case bytes.EqualFold(name, []byte("Via")) || bytes.EqualFold(name, []byte("v")):
			return nil
		case bytes.EqualFold(name, []byte("From")) || bytes.EqualFold(name, []byte("f")):
			_, tag, ok := bytes.Cut(value, []byte(sipTag))
			if ok && len(tag) >= branchDigits {
				digits = tag[:branchDigits]
			}
		}
	}
	return digits
}

// retryAfterIn reads the Retry-After among the lines of a head; 0 if there is none.
func retryAfterIn(head []byte) time.Duration {
	if value := headerIn(head, "Retry-After"); value != nil {
		return retryAfter(string(value))
	}
	return 0
}

// headerIn is the value of the first header of a name among the lines of a head; nil if
// there is none.
func headerIn(head []byte, header string) []byte {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if ok && bytes.EqualFold(bytes.TrimRight(name, " \t"), []byte(header)) {
			return bytes.Trim(value, " \t")
		}
	}
	return nil
}
