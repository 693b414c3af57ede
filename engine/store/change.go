package store

// Op is the operation of a Change.
type Op uint8

// The operations of a Change.
const (
	PutRoom       Op = iota + 1 // insert Room, or update its flag
	DeleteRoom                  // delete Room with all its members, messages and cursors
	PutMember                   // insert Member, or update its flag, inviter and delivered
	DeleteMember                // delete Member, and its cursor
	PutMessage                  // insert Message
	PutCursor                   // insert, update or delete a cursor
	PutProgress                 // update Done of a room
	PutSeen                     // insert or update Seen
	PutPlaces                   // insert or update Places; of a room that is not stored: nothing
	PutNote                     // insert Note
	DeleteNote                  // delete the note with the ID of Note; nothing if there is none
	PutSetting                  // insert or update Setting, or delete it (no Value); of a room that is not stored: nothing
	PutAct                      // insert Act; nothing if there is one with its ID
	PutEvent                    // insert Event
	DeleteMessage               // empty the Message of this Room and Seq, see MessageRow.Deleted; nothing if there is none
	MoveShard                   // give a shard, which the fence proves, to another engine
)

// Change is one change of stored state. The names are always in the case in
// which they were first stored.
type Change struct {
	Op     Op
	Room   RoomRow   // PutRoom, DeleteRoom
	Member MemberRow // PutMember, DeleteMember

	Message  *MessageRow  // PutMessage; the room's PutRoom came before, here or in an earlier commit. DeleteMessage
	Cursor   *CursorRow   // PutCursor
	Progress *ProgressRow // PutProgress
	Seen     *SeenRow     // PutSeen
	Places   *PlacesRow   // PutPlaces
	Note     *NoteRow     // PutNote, DeleteNote
	Setting  *SettingRow  // PutSetting
	Act      *ActRow      // PutAct
	Event    *EventRow    // PutEvent
	Move     *Move        // MoveShard
}
