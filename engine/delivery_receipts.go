package engine

import (
	"slices"
	"time"

	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// maxOpenReceipts bounds the messages of a room whose receipts are open; the oldest get none. After a
// restart no receipt is open.
const maxOpenReceipts = 64

// openReceipt opens the receipts of a message that is sent now.
func (d *delivery) openReceipt(r *room, o *openReceipt) {
	for _, m := range r.order {
		if !m.live || m.key == o.sender {
			continue
		}
		if o.delivered.open && (m.wait == nil || o.native) {
			o.delivered.members = append(o.delivered.members, m)
		}
		if o.displayed.open {
			o.displayed.members = append(o.displayed.members, m)
		}
	}
	if len(r.open) == maxOpenReceipts {
		r.open = slices.Delete(r.open, 0, 1)
	}
	r.open = append(r.open, o)
}

// reached notes that the phone of m has taken message seq.
func (d *delivery) reached(r *room, m *member, seq uint64) {
	if len(r.open) == 0 {
		return
	}
	d.eachOpen(r, func(o *openReceipt) {
		if o.seq == seq && o.delivered.hit(m) && o.native {
			d.passReceipt(r, o, m, sipmsg.IMDNDelivered)
		}
	})
}

// hasRead notes that all messages up to seq were displayed to m.
func (d *delivery) hasRead(r *room, m *member, seq uint64) {
	d.eachOpen(r, func(o *openReceipt) {
		if o.seq <= seq && o.sender != m.key {
			o.delivered.hit(m) // the outcome of the copy may come later
			if o.displayed.hit(m) && o.native {
				d.passReceipt(r, o, m, sipmsg.IMDNDisplayed)
			}
		}
	})
}

// leftOpen lets no receipt wait for m, which has left, and closes the receipts of its own messages.
func (d *delivery) leftOpen(r *room, m *member) {
	r.open = slices.DeleteFunc(r.open, func(o *openReceipt) bool { return o.sender == m.key })
	d.eachOpen(r, func(o *openReceipt) {
		o.delivered.without(m)
		o.displayed.without(m)
	})
}

// eachOpen calls f for each open receipt and sends those that are due.
func (d *delivery) eachOpen(r *room, f func(*openReceipt)) {
	if len(r.open) == 0 {
		return // nearly always
	}
	for _, o := range r.open {
		f(o)
		if o.delivered.due() && !o.native {
			d.sendReceipt(r, o, sipmsg.IMDNDelivered)
		}
		if o.displayed.due() && !o.native {
			d.sendReceipt(r, o, sipmsg.IMDNDisplayed)
		}
	}
	r.open = slices.DeleteFunc(r.open, func(o *openReceipt) bool { return !o.delivered.open && !o.displayed.open })
	if len(r.open) == 0 {
		r.open = nil
	}
}

// composeReceipt makes a receipt for the sender of a message, with the room as its sender. A client that
// uses CPIM gets it in CPIM, as clients compare its From and To with those of the message.
func (e *Engine) composeReceipt(r *room, to *member, o *openReceipt, status sipmsg.IMDNStatus,
	now time.Time) (*evapi.Outgoing, error) {
	contentType := sipmsg.IMDNType
	body := sipmsg.FormatIMDN(sipmsg.IMDN{MessageID: o.id, Status: status, DateTime: now, Recipient: r.name.URI()})
	if o.cpim {
		contentType = sipmsg.CPIMType
		body = sipmsg.WrapIMDN(r.name.URI(), to.uri, now, body)
	}
	return evapi.NewOutgoing(evapi.Content{From: nameAddr("", r.name), ContentType: contentType,
		Headers: e.noticeHeaders(r.name, now), Body: body})
}

// sendReceipt sends one receipt to the sender of a message. It is neither stored nor kept.
func (d *delivery) sendReceipt(r *room, o *openReceipt, status sipmsg.IMDNStatus) {
	sender := r.get(o.sender)
	if sender == nil {
		return
	}
	out, err := d.engine.composeReceipt(r, sender, o, status, d.now)
	d.queueReceipt(r, sender, o, out, err)
}
