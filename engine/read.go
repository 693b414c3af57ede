package engine

import (
	"errors"
	"strings"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// newRequest reads who sends what to which room. refused says what is wrong with it; the other fields are
// then as far as they were read.
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

// readText distinguishes commands from messages.
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

// unescape removes one command character: in the body, or, if that has another charset or is encoded, by
// a new body of text.
func (req *request) unescape(text string, start byte) {
	if kind, at := readOpening(string(req.body), start); kind == escapedText {
		req.body = req.body[at:]
		return
	}
	req.body, req.contentType = []byte(text), mediaType(req.contentType)+";charset=UTF-8"
	req.content.Entity = sipmsg.Entity{ContentType: req.contentType, Body: req.body}
}

// readCommand splits the first line behind the command character into words, and finds the command and
// its room.
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
	if req.cmd.textAt > 0 {
		req.text = behind(firstLine(text), req.cmd.textAt)
	}
	served := e.served.Load()
	req.args = req.cmd.dropName(req.args, angled-1, req.target, served)
	return req.cmd.locate(req, served)
}

// readContent reads the body of req. req.body and req.contentType are passed on.
func (e *Engine) readContent(req *request) *refusal {
	c, err := sipmsg.Read(entityOf(req.msg.Request))
	req.content, req.body, req.contentType = c, c.Entity.Body, c.Entity.ContentType
	switch {
	case errors.Is(err, sipmsg.ErrTooLarge):
		return &refusal{code: 413, rc: rcMessage - rcTooLarge, reason: "Message too large", notice: "too_large",
			vars: vars{"why": "it is too large when it is unpacked"}}
	case err != nil:
		return &refusal{code: 400, rc: rcUnusual, reason: "Bad message: " + clip(err.Error())}
	case c.Kind == sipmsg.Nothing:
		r := &refusal{code: 400, rc: rcUnusual, reason: "Empty message"}
		if c.Entity.IsText() {
			r.notice = "empty_message"
		}
		return r
	}
	return nil
}

// dropName removes the words of a display name without quotes: those before args[at], which is an address
// in angle brackets, if the command begins with a user and the address is no room's.
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
