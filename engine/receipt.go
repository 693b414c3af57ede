package engine

import (
	"slices"
	"strconv"
	"strings"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// A receipt (message/imdn+xml) names a copy by its Call-ID. It moves a place of the member, and may cause
// a receipt for the sender of the message (openReceipt). It is not passed on.

// Receipt takes a receipt that Kamailio has answered. It never blocks: a receipt for
// which a shard has no space is dropped and counted.
func (e *Engine) Receipt(r *evapi.Receipt) {
	room, err := ParseName(r.RURI, "")
	if err != nil || r.Err != nil || r.Request.From() == nil {
		e.metrics.countReceipt(receiptIgnored)
		return
	}
	from, err := NameOf(&r.Request.From().Address)
	if err != nil {
		e.metrics.countReceipt(receiptIgnored)
		return
	}
	e.heard(from)
	content, err := sipmsg.Read(entityOf(r.Request))
	if err != nil {
		e.metrics.countReceipt(receiptIgnored)
		return
	}
	e.noteReceipts(room, from, &content)
}

// noteReceipts takes all receipts of a body.
func (e *Engine) noteReceipts(room, from store.Name, content *sipmsg.Content) {
	if content.IMDN == nil {
		e.metrics.countReceipt(receiptIgnored)
		return
	}
	e.noteReceipt(receipt{room: room, from: from, imdn: *content.IMDN})
	for _, n := range content.More {
		e.noteReceipt(receipt{room: room, from: from, imdn: n})
	}
}

// noteReceipt gives a receipt to the shard of its room, if it names a copy of this engine.
func (e *Engine) noteReceipt(r receipt) {
	if e.isNote(r.imdn.MessageID) {
		e.speakers.add(r.from.Key())
		e.metrics.countReceipt(receiptNotice)
		return
	}
	if _, ok := parseCopyID(r.imdn.MessageID); !ok {
		e.metrics.countReceipt(receiptIgnored)
		return
	}
	if !e.shardOf(r.room).inbox.receipt(r) {
		e.metrics.countReceipt(receiptDropped)
	}
}

// Outcomes of receipts, for the metrics; beside these, the words of sipmsg.IMDNStatus.
const (
	receiptIgnored = "ignored" // forged, too old, or unreadable
	receiptNotice  = "notice"  // about a notice: nobody wants to know
	receiptDropped = "dropped" // the shard has too many already
)

// copyName is the content of a copy's Call-ID.
type copyName struct {
	room int64 // RoomRow.ID
	seq  uint64
	hash uint64 // hash64 of the member's key
}

// maxCopyID is longer than any copyID.
const maxCopyID = 64

// parseCopyID reads a Call-ID of copyID: SSS-ROOM-SEQ-HASH.
func parseCopyID(id string) (copyName, bool) {
	if len(id) > maxCopyID {
		return copyName{}, false
	}
	part := strings.Split(id, "-")
	if len(part) != 4 || len(part[0]) != 3 {
		return copyName{}, false
	}
	var n copyName
	var errs [3]error
	n.room, errs[0] = strconv.ParseInt(part[1], 36, 64)
	n.seq, errs[1] = strconv.ParseUint(part[2], 10, 64)
	n.hash, errs[2] = strconv.ParseUint(part[3], 36, 64)
	return n, errs == [3]error{} && n.room > 0 && n.seq > 0
}

// isNote reports whether a Call-ID is that of a notice of this run (noteID). Nobody else knows its tag.
func (e *Engine) isNote(id string) bool {
	return len(id) > len("000-") && id[3] == '-' && strings.HasPrefix(id[4:], e.tag+"-n")
}

// receipt takes a receipt. It ignores one that names no copy of this member.
func (d *delivery) receipt(rc *receipt) {
	d.engine.metrics.countReceipt(d.takeReceipt(rc))
}

func (d *delivery) takeReceipt(rc *receipt) (result string) {
	r := d.rooms[rc.room.Key()]
	if r == nil {
		return receiptIgnored
	}
	m := r.get(rc.from.Key())
	if m == nil || !m.live {
		return receiptIgnored
	}
	n, ok := parseCopyID(rc.imdn.MessageID)
	if !ok || n.room != r.id || n.hash != hash64(m.key) || !r.hasBeenSent(m, n.seq) {
		return receiptIgnored
	}
	d.engine.speakers.add(m.key)
	if rc.imdn.Status == sipmsg.IMDNDisplayed && d.showed(r, m, n.seq) {
		d.hasRead(r, m, n.seq)
	}
	return rc.imdn.Status.String()
}

// hasBeenSent reports whether m may acknowledge message seq: its phone has it, or a copy
// of it is under way, whose outcome may come after the receipt.
func (r *room) hasBeenSent(m *member, seq uint64) bool {
	f := m.inFlight
	if seq <= m.cursor || f != nil && f.missed == 0 && f.notice == noLossNotice && f.seq == seq {
		return true
	}
	a := r.ahead[m]
	return a != nil && (slices.Contains(a.had, seq) ||
		slices.ContainsFunc(a.copies, func(f *sentCopy) bool { return f.seq == seq }))
}
