package evapi

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const methodInvite = "INVITE"

// otherMethods are those of Content; empty: MESSAGE.
var otherMethods = []string{"", "NOTIFY", methodInvite, "BYE"}

func (o *Outgoing) isMessage() bool { return o.method == "" }

// checkDatagram refuses a request that does not fit a datagram with a recipient URI of 160 bytes.
func (o *Outgoing) checkDatagram() error {
	if n := o.sipSize(assumedURI, assumedCallID); n > maxDatagram {
		return &SizeError{Size: n, Limit: maxDatagram, Body: o.body, Headers: o.headers}
	}
	return nil
}

// request gives a request that is no MESSAGE to a Handler that takes some.
func (c *Conn) request(m *Message) {
	if h, ok := c.handler.(RequestHandler); ok {
		h.Request(m)
		return
	}
	_ = c.Reply(m.Tx, Answer{Code: 405, Reason: "Rooms take messages only", RC: -1}) // else Kamailio answers by itself
}

// Dialog is what a later request needs of an accepted INVITE (RFC 3261, 12). imcd sends such requests to the GRUU of
// the device, by way of Kamailio; so it has no route set.
type Dialog struct {
	Local, Remote string // the tags of imcd and of the device
	CSeq          int    // of the last request
}

// maxTag bounds a tag, in bytes.
const maxTag = 128

// Next is the dialog with the sequence number of its next request. d must not be nil.
func (d *Dialog) Next() *Dialog { return &Dialog{Local: d.Local, Remote: d.Remote, CSeq: d.CSeq + 1} }

// size is the length of what a dialog adds to a request, at most. d may be nil.
func (d *Dialog) size() int {
	if d == nil {
		return 0
	}
	return len(d.Local) + len(sipTag) + len(d.Remote) + len("4294967295")
}

// check refuses tags that are no tokens. d may be nil.
func (d *Dialog) check() error {
	if d == nil {
		return nil
	}
	for _, tag := range []string{d.Local, d.Remote} {
		if !isToken(tag) || len(tag) > maxTag {
			return fmt.Errorf("%w: tag %.32q is no token of at most %d bytes", ErrBadCopy, tag, maxTag)
		}
	}
	return nil
}

// appendOther appends a request of a method other than MESSAGE; without a dialog the tag is made of the branch. An
// ACK has no headers and no body.
func (f *sipFormat) appendOther(dst []byte, tx *sipTx, method string, branch uint64, d *Dialog) []byte {
	dst = append(append(dst, method...), ' ')
	dst = appendURI(dst, tx.to, tx.device)
	dst = append(dst, f.own...)
	dst = appendBranch(dst, branch)
	dst = append(dst, tx.out.from...)
	cseq := 1
	if d == nil {
		dst = appendBranch(dst, tx.branch)
	} else {
		dst, cseq = append(dst, d.Local...), d.CSeq
	}
	dst = append(append(append(dst, sipTo...), tx.to...), '>')
	if d != nil && d.Remote != "" {
		dst = append(append(dst, sipTag...), d.Remote...)
	}
	dst = append(append(dst, sipCall[1:]...), tx.callID...)
	dst = strconv.AppendInt(append(dst, "\r\nCSeq: "...), int64(cseq), 10)
	dst = append(append(append(dst, ' '), method...), "\r\n"+sipHops...)
	if method == methodACK {
		return append(dst, lengthHeader+"0\r\n\r\n"...)
	}
	return append(dst, tx.out.rest...)
}

const methodACK = "ACK"

// acknowledge makes the ACK for the final response to an INVITE, and the dialog if that is 2xx. The ACK for another
// response belongs to the transaction of the INVITE (RFC 3261, 17.1.1.3).
func (f *sipFormat) acknowledge(tx *sipTx, r *sipReply) (ack []byte, made *Dialog) {
	var number [branchDigits / 2]byte
	for i := range number {
		number[i] = byte(tx.branch >> (56 - 8*i))
	}
	d := &Dialog{Local: hex.EncodeToString(number[:]), Remote: tagOfTo(r.head), CSeq: 1}
	branch := tx.branch
	if r.code < 300 {
		branch = newBranch()
		if d.check() == nil {
			made = d
		}
	}
	if d.check() != nil {
		d.Remote = ""
	}
	return f.appendOther(nil, tx, methodACK, branch, d), made
}

// tagOfTo is the tag of To among the lines of a head; empty: it has none.
func tagOfTo(head []byte) string {
	to := headerIn(head, "To")
	if to == nil {
		to = headerIn(head, "t")
	}
	params := string(to[bytes.LastIndexByte(to, '>')+1:])
	for p := range strings.SplitSeq(params, ";") {
		if name, value, _ := strings.Cut(p, "="); strings.EqualFold(strings.TrimSpace(name), "tag") {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

const (
	// ackKept is how long a final response to an INVITE may come again (RFC 3261, timer H).
	ackKept = 32 * time.Second
	// maxAcks bounds the ACKs that are kept for that. For a response to an older INVITE none is sent; it ends by itself.
	maxAcks = 1024
)

// acks are the ACKs of INVITEs that have ended, for responses that come again. The link's mutex guards them.
type acks struct {
	byBranch map[uint64][]byte
	order    []acked  // oldest first
	due      [][]byte // are to be sent
}

type acked struct {
	branch uint64
	until  time.Time
}

func (a *acks) add(branch uint64, ack []byte, now time.Time) {
	if a.byBranch == nil {
		a.byBranch = make(map[uint64][]byte)
	}
	for len(a.order) > 0 && (len(a.order) >= maxAcks || a.order[0].until.Before(now)) {
		delete(a.byBranch, a.order[0].branch)
		a.order = a.order[1:]
	}
	a.byBranch[branch] = ack
	a.order = append(a.order, acked{branch, now.Add(ackKept)})
	a.due = append(a.due, ack)
}

// again reports whether a response came again, whose ACK goes again then.
func (a *acks) again(branch uint64) bool {
	ack, ok := a.byBranch[branch]
	if ok {
		a.due = append(a.due, ack)
	}
	return ok
}

// dueACKs takes the ACKs that are to be sent.
func (l *sipLink) dueACKs() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	due := l.acks.due
	l.acks.due = nil
	return due
}
