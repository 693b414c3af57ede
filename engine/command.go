package engine

import (
	"strings"

	"imcd/engine/store"
)

// need is who may give a command; it is checked before the command runs.
type need uint8

const (
	needNobody  need = iota // the room need not exist
	needRoom                // any sender, but there must be a room
	needMember              // in the room, not only invited
	needAdmin               // owner or admin
	needOwner               //
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
	need   need
	run    func(*call) *refusal
}

const (
	noRoom    = -1 // concerns no room
	noRoomArg = -2 // concerns the room of the request URI
)

// commandTable is the command language.
func commandTable() []*command {
	return []*command{
		{[]string{"create"}, "[room] [private]", "make a room", -30, 0, 2, 0, needNobody, runCreate},
		{[]string{"join"}, "[room]", "enter a room", -40, 0, 1, 0, needNobody, runJoin},
		{[]string{"invite"}, "user [room]", "ask somebody in", -50, 1, 2, 1, needAdmin, runInvite},
		{[]string{"add"}, "user [room]", "bring somebody in at once", -50, 1, 2, 1, needAdmin, runAdd},
		{[]string{"accept"}, "[room]", "follow an invitation", -60, 0, 1, 0, needInvited, runAccept},
		{[]string{"deny", "reject"}, "[room]", "decline it", -70, 0, 1, 0, needInvited, runDeny},
		{[]string{"remove"}, "user [room]", "put somebody out", -80, 1, 2, 1, needAdmin, runRemove},
		{[]string{"exit", "leave"}, "[room]", "leave the room", -90, 0, 1, 0, needMember, runExit},
		{[]string{"list", "members"}, "[room]", "who is here", -100, 0, 1, 0, needMember, runList},
		{[]string{"history"}, "[n]", "what was said last", -140, 0, 1, noRoomArg, needMember, runHistory},
		{[]string{"seen"}, "[n]", "who has read the last message", -150, 0, 1, noRoomArg, needMember, runSeen},
		{[]string{"rooms"}, "", "which rooms there are", -100, 0, 0, noRoom, needNobody, nil},
		{[]string{"destroy"}, "[room]", "end the room", -110, 0, 1, 0, needOwner, runDestroy},
		{[]string{"modify"}, "user owner|admin|member [room]", "change a role", -120, 2, 3, 2, needAdmin, runModify},
		{[]string{"help"}, "[command]", "this list, or more of one", -120, 0, 99, noRoom, needNobody, runHelp},
	}
}

// language is the command table with an index by name. Immutable.
type language struct {
	commands []*command
	byName   map[string]*command
}

func newLanguage() language {
	l := language{commandTable(), make(map[string]*command)}
	for _, c := range l.commands {
		for _, name := range c.names {
			l.byName[name] = c
		}
	}
	return l
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

// dropName leaves out the words of a display name that is not quoted: those before the
// address in angle brackets that args[at] is, if a user comes first and it is no room's.
func (c *command) dropName(args []string, at int, target store.Name, served *served) []string {
	if c.roomAt <= 0 || at <= 0 || len(args)-at < c.min {
		return args
	}
	_, isURI := cutScheme(args[at])
	if name, err := ParseName(args[at], target.Host); !isURI || err == nil && served.isRoomName(name, target) {
		return args
	}
	return args[at:]
}

// is tells a command by its main name.
func (c *command) is(name string) bool { return c.names[0] == name }

// usage is how to type the command.
func (c *command) usage(start string) string {
	return strings.TrimSpace(start + c.names[0] + " " + c.params)
}

// brief is its line in the list of commands, without what may be left out.
func (c *command) brief(start string) string {
	must, _, _ := strings.Cut(c.params, "[")
	return strings.TrimSpace(start+strings.Join(c.names, ", "+start)+" "+must) + " - " + c.help
}

// explain tells all of one command.
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
	case needMember:
		return "members"
	case needAdmin:
		return "owners and admins"
	case needOwner:
		return "owners"
	case needInvited:
		return "who is invited"
	}
	return ""
}

// locate checks the number of arguments and finds the room they name.
func (c *command) locate(req *request, s *served) *refusal {
	switch n := len(req.args); {
	case n < c.min:
		return refuseArguments("Argument missing")
	case n > c.max:
		return refuseArguments("Too many arguments")
	}
	room := ""
	if c.roomAt >= 0 && len(req.args) > c.roomAt {
		room = req.args[c.roomAt]
	}
	if c.is("create") && len(req.args) == 1 && equalFold(room, wordPrivate) {
		room = ""
	}
	if room == "" {
		req.room = req.target
		return nil
	}
	var r *refusal
	req.room, r = s.roomNamed(room, req.target, req.msg.ByRule, c.need == needNobody)
	return r
}

const wordPrivate = "private"
