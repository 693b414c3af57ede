package engine

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"time"

	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// A user with devices that know rooms as group chats gets copies there, each by its GRUU: a copy for the user would
// open a second chat beside the group. All copies of a message for a user have the same Call-ID, so each is a try, and
// the message has arrived when one of them has.

// ofMember reports whether a copy is from a room in which the user is, so that the native devices have it or get it.
func (d *delivery) ofMember(f *sentCopy, user string) bool {
	r := f.room
	if f.stream != nil {
		r = f.stream.notes[0].room
		if r != nil && d.rooms[r.key] != nil {
			r = d.rooms[r.key] // that of a notice that was loaded is a name only
		}
	}
	if r == nil {
		return false
	}
	m := r.get(user)
	return m != nil && !m.invited()
}

// unsaid reports whether a notice to a room is one that native devices hear of otherwise, by NOTIFY, or the line that
// names the author of a file: they show the author, and would show the line as the room's own words.
func (d *delivery) unsaid(f *sentCopy) bool {
	return f.seq == 0 && f.member != nil && f.notice == noLossNotice && d.engine.natives.has(f.member.key)
}

// sessionMode makes the copy one of a group, and not of a chat of two.
var sessionMode = evapi.Header{Name: "Session-mode", Value: "true"}

// nativeForm is a copy as native devices get it: a message in CPIM, because that names the author, and whose Message-ID
// is the Call-ID of the copy, so that receipts name it; a notice as it is, which they show as the room's own words.
// What the user has written on another device has the Message-ID that it has there: receipts for the author name that.
func (e *Engine) nativeForm(f *sentCopy, callID string) (*evapi.Outgoing, error) {
	o, _ := f.out.Origin().(*Origin)
	if o == nil {
		return f.out, nil
	}
	if o.Message == nil || f.missed > 0 || f.notice != noLossNotice || f.line {
		return evapi.NewOutgoing(evapi.Content{From: "<" + o.Room.URI() + ">", ContentType: plainUTF8,
			Headers: append(e.noticeHeaders(o.Room, time.Now()), sessionMode), Body: []byte(o.Notice)})
	}
	row, id, reader := o.Message, callID, ""
	if f.member != nil {
		reader = f.member.key
	}
	if reader == row.Sender.Key() && row.MessageID != "" && isPrintable(row.MessageID) {
		id = row.MessageID
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: %s\r\nTo: <%s>\r\nDateTime: %s\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: %s\r\n"+
		"imdn.Disposition-Notification: positive-delivery, negative-delivery, display\r\n",
		nameAddr(row.Display, row.Sender), o.Room.URI(), row.At.UTC().Format(time.RFC3339), id)
	for _, h := range row.Headers {
		if line := extensionFor(h, reader); line != "" {
			b.WriteString(line + "\r\n")
		}
	}
	b.WriteString("\r\n")
	contentType := cmp.Or(strings.TrimSpace(row.ContentType), textPlain)
	fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Length: %d\r\n", contentType, len(row.Body))
	var headers []evapi.Header
	for _, h := range f.room.nativeHeaders(e, o) {
		if _, ofContent := sipmsg.EntityHeader(h.Name); ofContent {
			fmt.Fprintf(&b, "%s: %s\r\n", h.Name, h.Value)
		} else {
			headers = append(headers, h)
		}
	}
	b.WriteString("\r\n")
	b.Write(row.Body)
	return evapi.NewOutgoing(evapi.Content{From: "<" + o.Room.URI() + ">", ContentType: sipmsg.CPIMType,
		Headers: append(headers, sessionMode), Body: b.Bytes()})
}

// nativeSpare is more than nativeForm adds to a message, in bytes.
const nativeSpare = 8 << 10

// fitsNative says why the native devices in a room could not get a message, which is longer there; nil: they can. The
// copy for others is out.
func (c *call) fitsNative(out *evapi.Outgoing) error {
	if out.Size() < nativeSpare || c.shard.groups.byRoom[c.room.key] == nil {
		return nil
	}
	_, err := c.shard.engine.nativeForm(&sentCopy{out: out, room: c.room}, strings.Repeat("x", maxCopyID))
	return err
}

// nativeHeaders are the headers of the copies of a message; r may be nil for one to a user.
func (r *room) nativeHeaders(e *Engine, o *Origin) []evapi.Header {
	if r == nil {
		return nil
	}
	return e.copyHeaders(r, o.Message)
}

// passReceipt sends the native devices of the author of a message the receipt of one member.
func (d *delivery) passReceipt(r *room, o *openReceipt, from *member, status sipmsg.IMDNStatus) {
	sender := r.get(o.sender)
	if sender == nil {
		return
	}
	body := sipmsg.FormatIMDN(sipmsg.IMDN{MessageID: o.id, Status: status, DateTime: d.now, Recipient: from.uri})
	out, err := evapi.NewOutgoing(evapi.Content{From: nameAddr("", r.name), ContentType: sipmsg.CPIMType,
		Headers: append(d.engine.noticeHeaders(r.name, d.now), sessionMode),
		Body:    sipmsg.WrapIMDN(from.uri, r.name.URI(), d.now, body)})
	d.queueReceipt(r, sender, o, out, err)
}

// nativeTyping is an "is typing" as native devices get it: in CPIM, which names the author. nil: there is no such
// device, or it cannot be read.
func (e *Engine) nativeTyping(r *room, req *request, now time.Time) *evapi.Outgoing {
	if !e.natives.some.Load() || req.content.Composing == nil {
		return nil
	}
	body := sipmsg.WrapComposing(req.from.URI(), r.name.URI(), now, sipmsg.FormatComposing(*req.content.Composing))
	out, err := evapi.NewOutgoing(evapi.Content{From: nameAddr("", r.name), ContentType: sipmsg.CPIMType, Body: body,
		Headers: append(e.noticeHeaders(r.name, now), sessionMode, evapi.Header{Name: headerExpires, Value: "0"},
			evapi.Header{Name: headerPriority, Value: "non-urgent"})})
	if err != nil {
		return nil
	}
	return out
}
