package schema

import (
	"encoding/hex"
	"encoding/json"
	"reflect"

	"imcd/engine/store"
)

// The rows of statements' parameters. The json tag is the column's name, the type
// of the field its type: see columnsOf.

// roomRow is a row of Kamailio's table of rooms.
type roomRow struct {
	Ord    int    `json:"ord"`
	Room   string `json:"room"` // sip:name@domain
	Name   string `json:"name"`
	Domain string `json:"domain"`
	Flag   int    `json:"flag"`
}

// memberRow is a row of Kamailio's table of members, and of ours of invitations.
type memberRow struct {
	Ord           int    `json:"ord"`
	Room          string `json:"room"`
	Username      string `json:"username"`
	Domain        string `json:"domain"`
	Flag          int    `json:"flag"`
	InviterName   string `json:"inviter_username"`
	InviterDomain string `json:"inviter_domain"`
	Delivered     bool   `json:"told"`
}

// idRow names an incarnation of a room.
type idRow struct {
	ID   int64  `json:"id"`
	Room string `json:"room"` // sip:name@domain; empty where the id says it all
}

// messageRow is a row of imcd_messages.
type messageRow struct {
	RoomID      int64  `json:"room_id"`
	Seq         int64  `json:"seq"`
	Username    string `json:"username"`
	Domain      string `json:"domain"`
	Display     string `json:"display"`
	ContentType blob   `json:"content_type"`
	Body        blob   `json:"body"`
	At          int64  `json:"at"` // ms
	Headers     blob   `json:"headers"`
	Expires     int64  `json:"expires"` // ms; 0: never
	MessageID   blob   `json:"message_id"`
	Wants       int    `json:"wants"`
	Device      string `json:"device"`
}

// messageOf returns m as a row of imcd_messages.
func messageOf(m *store.MessageRow) messageRow {
	return messageRow{RoomID: m.Room, Seq: int64(m.Seq), Username: m.Sender.User, Domain: m.Sender.Host,
		Display:     m.Display,
		ContentType: blob(m.ContentType), Body: m.Body, At: m.At.UnixMilli(),
		Headers: headerLines(m.Headers), Expires: millis(m.Expires), MessageID: blob(m.MessageID), Wants: int(m.Wants),
		Device: m.Device}
}

// headRow is what the messages of a commit change in their room.
type headRow struct {
	RoomID  int64 `json:"room_id"`
	Lowest  int64 `json:"lowest"`  // number
	Highest int64 `json:"highest"` // number
	Bytes   int64 `json:"bytes"`
	At      int64 `json:"at"` // of Lowest, ms
}

// cursorRow is a row of imcd_cursors.
type cursorRow struct {
	RoomID   int64  `json:"room_id"`
	Username string `json:"username"`
	Domain   string `json:"domain"`
	Seq      int64  `json:"seq"`
}

// progressRow is an imcd_rooms.done.
type progressRow struct {
	RoomID int64 `json:"room_id"`
	Done   int64 `json:"done"`
}

// placesRow is a row of imcd_places.
type placesRow struct {
	RoomID int64 `json:"room_id"`
	Places blob  `json:"places"`
}

// settingRow is a row of imcd_settings.
type settingRow struct {
	RoomID int64  `json:"room_id"`
	Name   string `json:"name"`
	Who    string `json:"who"`
	Value  string `json:"value"`
}

// seenRow is a row of imcd_seen.
type seenRow struct {
	Key    blob   `json:"key"`
	Shard  int64  `json:"shard"`
	Code   int    `json:"code"`
	RC     int    `json:"rc"`
	Reason string `json:"reason"`
	At     int64  `json:"at"` // ms
}

// seenOf returns s as a row of imcd_seen.
func seenOf(s *store.SeenRow) *seenRow {
	return &seenRow{Key: s.Key[:], Shard: int64(s.Shard), Code: s.Code, RC: s.RC, Reason: s.Reason, At: s.At.UnixMilli()}
}

// noteRow is a row of imcd_notes.
type noteRow struct {
	ID         int64  `json:"id"`
	RoomName   string `json:"room_username"`
	RoomDomain string `json:"room_domain"`
	Username   string `json:"username"`
	Domain     string `json:"domain"`
	Body       blob   `json:"body"`
	At         int64  `json:"at"` // ms
}

// deviceRow is a row of imcd_devices.
type deviceRow struct {
	Username string `json:"username"`
	Domain   string `json:"domain"`
	Device   string `json:"device"`
	Contact  string `json:"contact"`
	GRUU     string `json:"gruu"`
	Agent    string `json:"agent"`
	Source   string `json:"source"`
	Kamailio string `json:"kamailio"`
	Expires  int64  `json:"expires"`   // ms
	OKAt     int64  `json:"ok_at"`     // ms
	GoneAt   int64  `json:"gone_at"`   // ms; 0: it is there
	CallID   string `json:"call_id"`   //
	AsName   string `json:"as_name"`   // how the user has registered
	AsDomain string `json:"as_domain"` //
}

// keyRow names a message.
type keyRow struct {
	RoomID int64 `json:"room_id"`
	Seq    int64 `json:"seq"`
}

// keptRow is what Prune changes in a room: see the migration.
type keptRow struct {
	RoomID int64 `json:"room_id"`
	Pruned int64 `json:"pruned"`
	Bytes  int64 `json:"bytes"`
	Oldest int64 `json:"oldest"`
}

// blob is any bytes, which as JSON are hexadecimal digits.
type blob []byte

// MarshalJSON implements json.Marshaler.
func (b blob) MarshalJSON() ([]byte, error) { return json.Marshal(hex.EncodeToString(b)) }

// bytes is never nil, which would be NULL.
func (b blob) bytes() []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// column of a list of rows. kind is PostgreSQL's name of its type.
type column struct{ name, kind string }

// columnsOf returns the columns of a row, in the order of its fields.
func columnsOf(row any) []column {
	t := reflect.TypeOf(row)
	cols := make([]column, t.NumField())
	for i := range cols {
		cols[i] = column{t.Field(i).Tag.Get("json"), kindOf(t.Field(i).Type)}
	}
	return cols
}

func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int:
		return "integer"
	case reflect.Int64:
		return "bigint"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice:
		return "bytea"
	}
	return "text"
}

// cellsOf returns one column of a list of rows.
func cellsOf[C any](list reflect.Value, field int, get func(reflect.Value) C) []C {
	cells := make([]C, list.Len())
	for i := range cells {
		cells[i] = get(list.Index(i).Field(field))
	}
	return cells
}
