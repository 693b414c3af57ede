package engine

import (
	"slices"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// Who goes without receipts, and who gets them (Config.Receipts).
const (
	ReceiptsSender = "sender" // a sender whose client speaks receipts gets one of each kind
	ReceiptsOff    = "off"    // nobody
)

// maxOpenReceipts is for how many messages of a room receipts may be open; for the
// oldest there will be none then. After a restart none is open.
const maxOpenReceipts = 64

// openReceipt is a message whose sender is still to get a receipt: one when the last
// member that was online has it, and one when all have displayed it. Owned by the
// room's shard.
type openReceipt struct {
	seq    uint64
	sender string // key
	id     string // under which the sender's client knows the message
	cpim   bool   // it spoke CPIM
	via    *evapi.Conn

	delivered waitingFor // nil members and none: sent, or not asked for
	displayed waitingFor
}

// waitingFor is what must happen before one of the receipts is sent.
type waitingFor struct {
	open    bool      // it is to be sent
	members []*member // of whom it is to happen still
	once    bool      // it has happened to somebody
}

// hit notes that it has happened to m.
func (w *waitingFor) hit(m *member) {
	w.once = true
	w.without(m)
}

// without does not wait for m any more.
func (w *waitingFor) without(m *member) {
	if i := slices.Index(w.members, m); i >= 0 {
		last := len(w.members) - 1
		w.members[i], w.members[last] = w.members[last], nil
		w.members = w.members[:last]
	}
}

// due reports, once, that the receipt is to be sent.
func (w *waitingFor) due() bool {
	if !w.open || !w.once || len(w.members) > 0 {
		return false
	}
	*w = waitingFor{}
	return true
}

// receiptFor says what receipts the sender of row is to get; nil: none.
func (c *call) receiptFor(row *store.MessageRow) *openReceipt {
	cfg := &c.shard.engine.cfg
	if cfg.Receipts != ReceiptsSender || c.me == nil {
		return nil
	}
	cpim, delivered, displayed := c.req.content.CPIM, false, false
	switch {
	case cpim || row.Wants != 0: // it asks for what it wants
		delivered, displayed = row.Wants&store.WantsDelivered != 0, row.Wants&store.WantsDisplayed != 0
	case c.room.places[c.me].displayed > 0 || c.shard.engine.speakers.has(c.me.key):
		delivered, displayed = true, true
	}
	if !delivered && !displayed || row.MessageID == "" || !c.room.atMost(cfg.ReceiptMembers) {
		return nil
	}
	return &openReceipt{seq: row.Seq, sender: c.me.key, id: row.MessageID, cpim: cpim, via: c.tx.via(),
		delivered: waitingFor{open: delivered}, displayed: waitingFor{open: displayed}}
}

// atMost reports whether no more than n users are in the room. It looks at few more.
func (r *room) atMost(n int) bool {
	if len(r.order) <= n {
		return true
	}
	in := 0
	for _, m := range r.order {
		if !m.invited() {
			in++
		}
		if in > n {
			return false
		}
	}
	return true
}

// openReceipt begins to wait for what o tells of: its message goes out now.
func (s *shard) openReceipt(r *room, o *openReceipt) {
	for _, m := range r.order {
		if !m.live || m.key == o.sender {
			continue
		}
		if o.delivered.open && m.wait == nil {
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
func (s *shard) reached(r *room, m *member, seq uint64) {
	if len(r.open) == 0 {
		return
	}
	s.eachOpen(r, func(o *openReceipt) {
		if o.seq == seq {
			o.delivered.hit(m)
		}
	})
}

// hasRead notes that what was said up to seq was displayed to m.
func (s *shard) hasRead(r *room, m *member, seq uint64) {
	s.eachOpen(r, func(o *openReceipt) {
		if o.seq <= seq && o.sender != m.key {
			o.delivered.hit(m) // the outcome of the copy may be on its way still
			o.displayed.hit(m)
		}
	})
}

// isOffline lets the receipts not wait for m to have what it cannot get now.
func (s *shard) isOffline(r *room, m *member) {
	s.eachOpen(r, func(o *openReceipt) { o.delivered.without(m) })
}

// notReached lets them not wait for what m will never get.
func (s *shard) notReached(r *room, m *member, upTo uint64) {
	s.eachOpen(r, func(o *openReceipt) {
		if o.seq <= upTo {
			o.delivered.without(m)
			o.displayed.without(m)
		}
	})
}

// leftOpen lets them not wait for m, which has left, and takes those of its own messages away.
func (s *shard) leftOpen(r *room, m *member) {
	r.open = slices.DeleteFunc(r.open, func(o *openReceipt) bool { return o.sender == m.key })
	s.eachOpen(r, func(o *openReceipt) {
		o.delivered.without(m)
		o.displayed.without(m)
	})
}

// eachOpen lets f note something and sends the receipts that are due then.
func (s *shard) eachOpen(r *room, f func(*openReceipt)) {
	if len(r.open) == 0 {
		return // nearly always
	}
	for _, o := range r.open {
		f(o)
		if o.delivered.due() {
			s.sendReceipt(r, o, sipmsg.IMDNDelivered)
		}
		if o.displayed.due() {
			s.sendReceipt(r, o, sipmsg.IMDNDisplayed)
		}
	}
	r.open = slices.DeleteFunc(r.open, func(o *openReceipt) bool { return !o.delivered.open && !o.displayed.open })
	if len(r.open) == 0 {
		r.open = nil
	}
}

// composeReceipt makes a receipt for the sender of a message, as from the room. A client
// that speaks CPIM gets it in that: one that demands it compares From and To with those of
// the request.
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

// sendReceipt sends one receipt to the sender of a message. It is not stored, and not
// kept for a sender that is offline.
func (s *shard) sendReceipt(r *room, o *openReceipt, status sipmsg.IMDNStatus) {
	sender := r.get(o.sender)
	if sender == nil {
		return
	}
	out, err := s.engine.composeReceipt(r, sender, o, status, s.now)
	if err != nil {
		s.engine.log.Warn().Err(err).Str("room", r.key).Msg("receipt cannot be sent")
		return
	}
	size := s.engine.sizeOf(out)
	s.engine.charge(size)
	s.note(sender.name(), note{out: out, via: o.via, size: size})
	s.engine.metrics.receiptsSent.Inc()
}
