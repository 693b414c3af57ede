package engine

import "strings"

// need is the role that a command needs; it is checked before the command runs.
type need uint8

const (
	needNobody  need = iota // the room need not exist
	needRoom                // any sender, but there must be a room
	needMember              // in the room, not only invited
	needLook                // as needMember, or one of service_admins
	needAdmin               // owner or admin
	needOwner               //
	needInviter             // may bring people in: as needAdmin, or a member where the room allows it
	needInvited             // holds an invitation
)

// command is one row of the command language.
type command struct {
	names  []string // the first is shown, the others are aliases
	params string   // as shown in usage
	help   string   // one line
	base   int      // of its return codes
	min    int      // arguments
	max    int
	roomAt int // index of the room among the arguments, noRoom or noRoomArg
	textAt int // how many words stand before a text that is taken as it was typed; 0: there is none
	need   need
	run    func(*call) *refusal
}

const (
	noRoom    = -1 // concerns no room
	noRoomArg = -2 // concerns the room of the request URI
)

// language is the command table with an index by name. Immutable.
type language struct {
	commands []*command
	byName   map[string]*command
}

// find returns the command of that name in any case, or nil.
func (l language) find(word string) *command { return l.byName[strings.ToLower(word)] }

// known is the first of words if it names a command, else empty.
func (l language) known(words []string) string {
	if len(words) == 0 || l.find(words[0]) == nil {
		return ""
	}
	return strings.ToLower(words[0])
}

// is reports whether the main name of the command is the given one.
func (c *command) is(name string) bool { return c.names[0] == name }

// usage is how to type the command.
func (c *command) usage(start string) string {
	return strings.TrimSpace(start + c.names[0] + " " + c.params)
}

// brief is its line in the list of commands, without optional parameters.
func (c *command) brief(start string) string {
	must, _, _ := strings.Cut(c.params, "[")
	return strings.TrimSpace(start+strings.Join(c.names, ", "+start)+" "+must) + " - " + c.help
}

// explain is the help of the command.
func (c *command) explain(start string) string {
	text := c.usage(start) + " - " + c.help
	if who := c.need.who(); who != "" {
		text += ", for " + who
	}
	for _, alias := range c.names[1:] {
		text += "; also " + start + alias
	}
	if strings.Contains(c.params, "[room]") {
		text += ". Without a room: the one you write to"
	}
	return text + "."
}

// who may give such a command, in words; empty: anybody.
func (n need) who() string {
	switch n {
	case needMember, needLook:
		return "members"
	case needAdmin, needInviter:
		return "owners and admins"
	case needOwner:
		return "owners"
	case needInvited:
		return "who is invited"
	}
	return ""
}

const wordPrivate = "private"
