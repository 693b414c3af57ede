package engine

import (
	"strings"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// request is a SIP MESSAGE on its way through the engine. It is made by the
// connection's reader and from then on belongs to one shard.
type request struct {
	msg     *evapi.Message
	from    store.Name                  // sender; zero if it has no usable URI
	display string                      // the sender's display name; may be empty
	target  store.Name                  // request URI
	room    store.Name                  // which room it is about
	keys    struct{ from, room string } // see fromKey and roomKey
	foreign bool                        // the sender is of another domain, as Kamailio says
	cmd     *command                    // nil for a message to the room
	word    string                      // the command as typed
	args    []string                    // its arguments

	callID      string
	marks       marks
	content     sipmsg.Content // what was sent; Kind 0: not read, or an operator's
	contentType string         // of the content that goes on; empty if there was none
	body        []byte         // likewise

	size    int      // bytes charged until it is answered
	refused *refusal // found while it was read
	metered bool     // counted against the sender's limits already
	seq     uint64   // number of the message; 0 until it has one, and for commands
	seen    *seen    // how its repetitions find it; nil if they cannot
	order   *order   // set if an operator asks, and not a user by SIP
}

// newRequest reads who says what to which room. What is wrong with it stands in
// refused; the rest is then as far as it was read.
func (e *Engine) newRequest(m *evapi.Message) *request {
	req := &request{msg: m, size: requestBytes}
	if m.Request != nil {
		req.size += len(m.Request.Body())
	}
	req.refused = e.read(req)
	if req.room.IsZero() {
		req.room = req.target
	}
	return req
}

// fromKey is from.Key(), made when it is first wanted: every stop on the way of a request
// looks something up by it.
func (req *request) fromKey() string {
	if req.keys.from == "" {
		req.keys.from = req.from.Key()
	}
	return req.keys.from
}

// roomKey is the same of room, which must be known by then.
func (req *request) roomKey() string {
	if req.keys.room == "" {
		req.keys.room = req.room.Key()
	}
	return req.keys.room
}

func (e *Engine) read(req *request) *refusal {
	m := req.msg
	if m.Err != nil {
		return &refusal{code: 400, rc: rcUnusual, reason: "Bad request: " + clip(m.Err.Error())}
	}
	target, err := ParseName(m.RURI, "")
	if err != nil {
		return &refusal{code: 400, rc: rcUnusual, reason: "Bad request URI: " + err.Error()}
	}
	req.target = target
	from := m.Request.From()
	if from == nil {
		return &refusal{code: 400, rc: rcUnusual, reason: "No From"}
	}
	if req.from, err = NameOf(&from.Address); err != nil {
		return &refusal{code: 400, rc: rcUnusual, reason: "Bad From: " + err.Error()}
	}
	if req.foreign = m.Foreign && !equalFold(req.from.Host, target.Host); !req.foreign {
		e.users.met(req.fromKey())
	}
	req.display = from.DisplayName
	if id := m.Request.CallID(); id != nil {
		req.callID = id.Value()
	}
	req.marks = readMarks(m.Request)
	if len(req.marks.requires) > 0 {
		return refuseRequired(req.marks.requires)
	}
	if r := e.readContent(req); r != nil {
		return r
	}
	switch {
	case req.content.Kind == sipmsg.Receipt:
		return nil
	case req.passed() && req.marks.path.loops(target.Key()):
		req.metered = true // it is no fault of the sender's
		return refuseLoop()
	case req.content.Kind == sipmsg.Text && !req.marks.machine():
		return e.readText(req)
	}
	return nil
}

// readText tells commands from messages to the room.
func (e *Engine) readText(req *request) *refusal {
	start, text := e.cfg.CmdStartChar[0], req.content.Text
	switch kind, at := readOpening(text, start); kind {
	case escapedText:
		req.unescape(text[at:], start)
	case commandText, bareStart:
		return e.readCommand(req, text[at:])
	}
	return nil
}

// unescape makes text what is said: in the body as it is, or, if that has another
// charset or is encoded, instead of it.
func (req *request) unescape(text string, start byte) {
	if kind, at := readOpening(string(req.body), start); kind == escapedText {
		req.body = req.body[at:]
		return
	}
	req.body, req.contentType = []byte(text), mediaType(req.contentType)+";charset=UTF-8"
	req.content.Entity = sipmsg.Entity{ContentType: req.contentType, Body: req.body}
}

// readCommand splits the first line of what stands behind the command character into
// words and finds the command and its room.
func (e *Engine) readCommand(req *request, text string) *refusal {
	start := e.cfg.CmdStartChar
	words, angled := splitLine(firstLine(text))
	if kind, _ := readOpening(start+text, start[0]); kind == bareStart || len(words) == 0 {
		return refuseBareStart(start, e.language.known(words)) // "# word" is no command for the module either
	}
	req.word, req.args = strings.TrimRight(words[0], ":"), words[1:]
	req.cmd = e.language.find(req.word)
	if req.cmd == nil {
		r := &refusal{code: 400, rc: rcUnknown, reason: "Unknown command", notice: "unknown_command",
			vars: vars{"command": clip(req.word)}}
		if near := e.language.nearest(req.word); near != "" {
			r.notice, r.vars["usage"] = "did_you_mean", start+near
		}
		return r
	}
	served := e.served.Load()
	req.args = req.cmd.dropName(req.args, angled-1, req.target, served)
	return req.cmd.locate(req, served)
}

// lateAfter is the age from which on a request is not carried out any more: soon
// Kamailio answers 503 by itself (after 5 s, imc.cfg), and a client that heard 503
// expects that nothing was done.
const lateAfter = 4 * time.Second

// late reports whether it is too late for req.
func (req *request) late(now time.Time) bool {
	return req.msg.Age+now.Sub(req.msg.Received) > lateAfter
}

// kind names the command, or what else it is: "message", "receipt" or "typing";
// "unknown" if there is no command of that name.
func (req *request) kind() string {
	switch {
	case req.content.Kind == sipmsg.Receipt || req.content.Kind == sipmsg.Typing:
		return req.content.Kind.String()
	case req.cmd != nil:
		return req.cmd.names[0]
	case req.word != "":
		return "unknown"
	}
	return "message"
}

// base is the start of the range of return codes.
func (req *request) base() int {
	switch {
	case req.cmd != nil:
		return req.cmd.base
	case req.word != "":
		return rcUnknown
	}
	return rcMessage
}

// person reports whether somebody may be told something in answer: who has written a
// text. Programs are answered by the SIP response alone.
func (req *request) person() bool {
	switch req.content.Kind {
	case sipmsg.Receipt, sipmsg.Typing, sipmsg.Attachment:
		return false
	case sipmsg.Nothing:
		if !req.content.Entity.IsText() {
			return false
		}
	}
	return !req.marks.machine() && !req.marks.idle
}

func mediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }
