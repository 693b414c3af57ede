package e2e

import (
	"fmt"
	"strings"
)

// step is one MESSAGE of a conversation.
type step struct {
	sender      string // one of users
	from        string // From header's value; empty: the sender's own
	uri         string // request URI
	contentType string // empty: text/plain
	body        string
}

func (s step) String() string {
	extra := ""
	if s.from != "" {
		extra = " From: " + s.from
	}
	if s.contentType != "" {
		extra += " Content-Type: " + s.contentType
	}
	return fmt.Sprintf("%s -> %s %q%s", s.sender, s.uri, s.body, extra)
}

// again is another command of the same sender, sent to a room itself.
func (s step) again(room, body string) step {
	return step{sender: s.sender, from: s.from, uri: "sip:" + room, body: body}
}

// Kinds of steps that are no command of the language.
const (
	isMessage = "(message)"
	isUnknown = "(unknown)" // a command that there is not
	isNothing = "(nothing)" // a command character without a name, or no body
	isSaid    = "(said)"    // a command character and no letter: the module's unknown command, imcd's message
)

// aliases gives the first name of a command.
var aliases = map[string]string{"create": "create", "join": "join", "invite": "invite", "add": "add",
	"accept": "accept", "deny": "deny", "reject": "deny", "remove": "remove", "exit": "exit", "leave": "exit",
	"list": "list", "members": "list", "rooms": "rooms", "destroy": "destroy", "modify": "modify", "help": "help"}

// mostArgs is how many arguments imcd takes; the module ignores what is more.
var mostArgs = map[string]int{"create": 2, "join": 1, "invite": 2, "add": 2, "accept": 1, "deny": 1, "remove": 2,
	"exit": 1, "list": 1, "rooms": 0, "destroy": 1, "modify": 3}

// roomArg is the place of the room among the arguments; the commands that are
// not here take none.
var roomArg = map[string]int{"create": 0, "join": 0, "invite": 1, "add": 1, "accept": 0, "deny": 0, "remove": 1,
	"exit": 0, "list": 0, "destroy": 0, "modify": 2}

// scene is a step with what is known when it is taken. Names are keys.
type scene struct {
	step
	before  state
	cmd     string // first name of the command, or a kind
	args    []string
	cut     bool   // there were more arguments than imcd takes; args has the rest
	me      string // sender
	target  string // request URI
	room    string // which room it is about
	rs      *roomState
	mine    place // the sender's place in the room
	present bool  // the sender has one
	user    string
	theirs  place // likewise the user's whom the command names
	known   bool

	checkOnCreate bool // the parameter of that name is 1
}

func newScene(st step, before state) scene {
	sc := scene{step: st, before: before, me: st.sender + "@" + home, target: key(st.uri)}
	sc.cmd, sc.args = parse(st)
	if most, ok := mostArgs[sc.cmd]; ok && len(sc.args) > most {
		sc.cut, sc.args = true, sc.args[:most]
	}
	sc.room = sc.target
	if at, ok := roomArg[sc.cmd]; ok && at < len(sc.args) && !sc.createPrivate() {
		sc.room = sc.complete(sc.args[at])
	}
	sc.rs = before[sc.room]
	if sc.rs != nil {
		sc.mine, sc.present = sc.rs.members[sc.me]
	}
	if roomArg[sc.cmd] > 0 && len(sc.args) > 0 {
		sc.user = sc.complete(sc.args[0])
		if sc.rs != nil {
			sc.theirs, sc.known = sc.rs.members[sc.user]
		}
	}
	return sc
}

// parse splits a body into a command and its arguments.
func parse(st step) (string, []string) {
	if !strings.HasPrefix(st.body, "#") {
		if st.body == "" {
			return isNothing, nil
		}
		return isMessage, nil
	}
	line, _, _ := strings.Cut(st.body[1:], "\r\n")
	words := strings.Fields(line)
	if len(words) == 0 || strings.HasPrefix(line, " ") {
		return isNothing, nil
	}
	if first := line[0] | 0x20; first < 'a' || first > 'z' {
		return isSaid, nil
	}
	cmd, ok := aliases[strings.ToLower(words[0])]
	if !ok {
		cmd = isUnknown
	}
	return cmd, words[1:]
}

// createPrivate reports whether it is "#create private" without a room.
func (sc *scene) createPrivate() bool {
	return sc.cmd == "create" && len(sc.args) == 1 && strings.EqualFold(sc.args[0], "private")
}

// complete makes the key of an argument.
func (sc *scene) complete(arg string) string {
	if !strings.Contains(arg, "@") {
		_, host, _ := strings.Cut(sc.target, "@")
		arg += "@" + host
	}
	return key(arg)
}

// cutStep is the step without the arguments that are too many.
func (sc *scene) cutStep() step {
	st := sc.step
	st.body = strings.Join(append([]string{strings.Fields(st.body)[0]}, sc.args...), " ")
	return st
}

// member reports whether the sender is in the room and not only invited.
func (sc *scene) member() bool { return sc.present && sc.mine.inside() }

// invited reports whether the sender is only invited.
func (sc *scene) invited() bool { return sc.present && !sc.mine.inside() }

// voice is as whom imcd speaks: the room, if there is one and it could be read.
func (sc *scene) voice() string {
	if sc.rs != nil && sc.cmd != isNothing && !sc.tooFew() {
		return sc.room
	}
	return sc.target
}

// tooFew reports whether arguments are missing.
func (sc *scene) tooFew() bool {
	switch sc.cmd {
	case "invite", "add", "remove":
		return len(sc.args) < 1
	case "modify":
		return len(sc.args) < 2
	}
	return false
}
