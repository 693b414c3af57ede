package store

import "time"

// DeviceRow is a device of a user, as its last registration describes it.
type DeviceRow struct {
	User    Name   // as it was registered, or in lower case; Devices returns it as in Name.Key
	Device  string // tells the user's devices apart: the +sip.instance, or what stays the same of the contact
	Contact string // URI
	GRUU    string // see evapi.Device; empty: not known
	Agent   string // may be empty
	Source  string // see evapi.Registration; may be empty
	// Kamailio is the name of the connection to the Kamailio that it has registered at.
	Kamailio string
	// CallID is a hash of the Call-ID of the registrations of a device without an instance (evapi.Device); empty: it is
	// not known, or two devices may have this name.
	CallID  string
	Expires time.Time // when the registration ends
	OKAt    time.Time // when it was heard of last
	// GoneAt: it is owed messages that were accepted from that time on and that other devices of the user have got;
	// zero: nothing.
	GoneAt time.Time

	// Found says that the location table has it, and that nobody has reported it. It is not stored.
	Found bool
	// Was is the GRUU of a contact that the device has left behind. It is not stored. Empty: none is known.
	Was string
}

// MaxDevice bounds the texts of a DeviceRow, in characters; they are UTF-8 without NULs.
const MaxDevice = 255

// Place is a member of a room.
type Place struct {
	Room int64 // RoomRow.ID
	User Name  // as it is stored
}

// GoneMove changes DeviceRow.GoneAt of a device of a user.
type GoneMove struct {
	User   Name
	Device string
	Was    time.Time
	Is     time.Time // zero: it is not owed anything any more
}
