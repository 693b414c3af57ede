package schema

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"

	"imcd/engine/store"
)

// deliveries merges the changes that name rooms by id: messages, cursors and progress.
// Changes of a room that is deleted are forgotten, not checked.
type deliveries struct {
	ids map[store.Name]int64 // of the rooms, as far as they are known

	dropped  map[int64]bool // stored ids that are deleted
	put      map[int64]store.Name
	messages map[int64][]messageRow
	emptied  map[keyRow]bool // messages that were deleted
	progress map[int64]int64
	cursors  map[int64]map[store.Name]cursorOutcome
	places   map[int64][]byte
	settings map[int64]map[settingKey]string // empty: to be deleted
	seen     map[[16]byte]*store.SeenRow
	notes    map[int64]*store.NoteRow // by ID; nil: to be deleted
	acts     []actRow
	events   []eventRow
}

// cursorOutcome is that of all changes of one cursor.
type cursorOutcome struct {
	drop bool
	seq  int64
}

// settingKey names a setting of a room.
type settingKey struct{ name, who string }

func newDeliveries(ids map[store.Name]int64) deliveries {
	return deliveries{ids: ids, dropped: make(map[int64]bool), put: make(map[int64]store.Name),
		messages: make(map[int64][]messageRow), emptied: make(map[keyRow]bool), progress: make(map[int64]int64),
		cursors: make(map[int64]map[store.Name]cursorOutcome), places: make(map[int64][]byte),
		settings: make(map[int64]map[settingKey]string),
		seen:     make(map[[16]byte]*store.SeenRow), notes: make(map[int64]*store.NoteRow)}
}

// begin gives a room its id. Another id is another incarnation.
func (d *deliveries) begin(r store.RoomRow) {
	if r.ID == 0 || d.ids[r.Name] == r.ID {
		return
	}
	d.end(r.Name)
	d.ids[r.Name] = r.ID
	d.put[r.ID] = r.Name
}

// end forgets the incarnation of a room.
func (d *deliveries) end(room store.Name) {
	id := d.ids[room]
	if id == 0 {
		return
	}
	delete(d.ids, room)
	if _, new := d.put[id]; !new {
		d.dropped[id] = true
	}
	delete(d.put, id)
	delete(d.messages, id)
	maps.DeleteFunc(d.emptied, func(k keyRow, _ bool) bool { return k.RoomID == id })
	delete(d.progress, id)
	delete(d.cursors, id)
	delete(d.places, id)
	delete(d.settings, id)
}

// memberCursor notes the cursor that comes with a member.
func (d *deliveries) memberCursor(m store.MemberRow) {
	if m.Cursor != nil {
		d.setCursor(d.ids[m.Room], m.User, cursorOutcome{seq: int64(*m.Cursor)})
	}
}

func (d *deliveries) dropCursor(room, user store.Name) {
	d.setCursor(d.ids[room], user, cursorOutcome{drop: true})
}

// setCursor does nothing for a room without an id: it has no message yet.
func (d *deliveries) setCursor(id int64, user store.Name, to cursorOutcome) {
	if id == 0 {
		return
	}
	if d.cursors[id] == nil {
		d.cursors[id] = make(map[store.Name]cursorOutcome)
	}
	d.cursors[id][user] = to
}

func (d *deliveries) addDelivery(c store.Change) {
	switch c.Op {
	case store.PutMessage:
		d.messages[c.Message.Room] = append(d.messages[c.Message.Room], messageOf(c.Message))
		delete(d.emptied, keyRow{RoomID: c.Message.Room, Seq: int64(c.Message.Seq)}) // it was not there to be deleted
	case store.DeleteMessage:
		d.emptied[keyRow{RoomID: c.Message.Room, Seq: int64(c.Message.Seq)}] = true
	case store.PutCursor:
		d.setCursor(c.Cursor.Room, c.Cursor.User, cursorOutcome{drop: c.Cursor.Remove, seq: int64(c.Cursor.Seq)})
	case store.PutProgress:
		d.progress[c.Progress.Room] = int64(c.Progress.Done)
	case store.PutPlaces:
		d.places[c.Places.Room] = c.Places.Places
	case store.PutSetting:
		d.set(c.Setting)
	case store.PutSeen:
		d.seen[c.Seen.Key] = c.Seen
	case store.PutNote:
		d.notes[c.Note.ID] = c.Note
	case store.PutAct:
		d.acts = append(d.acts, actOf(c.Act))
	case store.PutEvent:
		d.events = append(d.events, eventOf(c.Event, len(d.events)))
	case store.DeleteNote:
		d.notes[c.Note.ID] = nil
	}
}

func (d *deliveries) set(s *store.SettingRow) {
	if d.settings[s.Room] == nil {
		d.settings[s.Room] = make(map[settingKey]string)
	}
	d.settings[s.Room][settingKey{s.Name, s.Who}] = s.Value
}

// into adds the rows, in an order that two processes share.
func (d *deliveries) into(b *batch) {
	for id := range d.dropped {
		b.dropIDs = append(b.dropIDs, idRow{ID: id})
	}
	for id, room := range d.put {
		b.putIDs = append(b.putIDs, idRow{ID: id, Room: room.URI()})
	}
	for _, messages := range d.messages {
		b.messages = append(b.messages, messages...)
		b.heads = append(b.heads, headOf(messages))
	}
	for key := range d.emptied {
		b.emptied = append(b.emptied, key)
	}
	for id, done := range d.progress {
		b.progress = append(b.progress, progressRow{RoomID: id, Done: done})
	}
	for id, cursors := range d.cursors {
		for user, c := range cursors {
			row := cursorRow{RoomID: id, Username: user.User, Domain: user.Host, Seq: c.seq}
			if c.drop {
				b.dropCursors = append(b.dropCursors, row)
			} else {
				b.putCursors = append(b.putCursors, row)
			}
		}
	}
	for id, places := range d.places {
		b.places = append(b.places, placesRow{RoomID: id, Places: places})
	}
	for id, settings := range d.settings {
		for key, value := range settings {
			row := settingRow{RoomID: id, Name: key.name, Who: key.who, Value: value}
			if value == "" {
				b.dropSet = append(b.dropSet, row)
			} else {
				b.putSet = append(b.putSet, row)
			}
		}
	}
	for _, s := range d.seen {
		b.seen = append(b.seen, *seenOf(s))
	}
	for id, n := range d.notes {
		if n == nil {
			b.dropNotes = append(b.dropNotes, idRow{ID: id})
			continue
		}
		b.putNotes = append(b.putNotes, noteRow{ID: id, RoomName: n.Room.User, RoomDomain: n.Room.Host,
			Username: n.User.User, Domain: n.User.Host, Body: n.Body, At: n.At.UnixMilli()})
	}
	b.acts, b.events = d.acts, d.events
	b.sortDeliveries()
}

func headOf(messages []messageRow) headRow {
	first := messages[0]
	h := headRow{RoomID: first.RoomID, Lowest: first.Seq, Highest: first.Seq, At: first.At}
	for _, m := range messages {
		if m.Seq < h.Lowest {
			h.Lowest, h.At = m.Seq, m.At
		}
		h.Highest = max(h.Highest, m.Seq)
		h.Bytes += int64(len(m.Body))
	}
	return h
}

func (b *batch) sortDeliveries() {
	byID := func(x, y idRow) int { return cmp.Compare(x.ID, y.ID) }
	byCursor := func(x, y cursorRow) int {
		return cmp.Or(cmp.Compare(x.RoomID, y.RoomID), strings.Compare(x.Username, y.Username), strings.Compare(x.Domain,
			y.Domain))
	}
	bySetting := func(x, y settingRow) int {
		return cmp.Or(cmp.Compare(x.RoomID, y.RoomID), strings.Compare(x.Name, y.Name), strings.Compare(x.Who, y.Who))
	}
	slices.SortFunc(b.dropSet, bySetting)
	slices.SortFunc(b.putSet, bySetting)
	slices.SortFunc(b.dropIDs, byID)
	slices.SortFunc(b.dropNotes, byID)
	slices.SortFunc(b.putNotes, func(x, y noteRow) int { return cmp.Compare(x.ID, y.ID) })
	slices.SortFunc(b.putIDs, byID)
	slices.SortFunc(b.acts, func(x, y actRow) int { return cmp.Compare(x.ID, y.ID) })
	slices.SortFunc(b.messages, func(x, y messageRow) int {
		return cmp.Or(cmp.Compare(x.RoomID, y.RoomID), cmp.Compare(x.Seq, y.Seq))
	})
	slices.SortFunc(b.emptied, func(x, y keyRow) int {
		return cmp.Or(cmp.Compare(x.RoomID, y.RoomID), cmp.Compare(x.Seq, y.Seq))
	})
	slices.SortFunc(b.heads, func(x, y headRow) int { return cmp.Compare(x.RoomID, y.RoomID) })
	slices.SortFunc(b.progress, func(x, y progressRow) int { return cmp.Compare(x.RoomID, y.RoomID) })
	slices.SortFunc(b.places, func(x, y placesRow) int { return cmp.Compare(x.RoomID, y.RoomID) })
	slices.SortFunc(b.dropCursors, byCursor)
	slices.SortFunc(b.putCursors, byCursor)
	slices.SortFunc(b.seen, func(x, y seenRow) int { return bytes.Compare(x.Key, y.Key) })
}
