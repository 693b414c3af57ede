package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"imcd/engine/native"
	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// Clients that know rooms as group chats say by INVITE, SUBSCRIBE, REFER and BYE what others say by commands. Each such
// request becomes the command that means the same: so rights, limits, acts and events are the same.

// Request takes an INVITE, SUBSCRIBE, REFER or BYE (evapi.RequestHandler). It never blocks.
func (e *Engine) Request(m *evapi.Message) {
	req := &request{msg: m, size: requestBytes}
	req.refused = e.readNative(req)
	e.opened(req)
	defer e.heard(req.from)
	switch {
	case req.refused != nil:
		e.settle(req, evapi.Answer{Code: req.refused.code, Reason: req.refused.reason, RC: rcUnusual})
	case e.stopping.Load():
		e.turnAway(req, "Shutting down")
	case req.isLate(m.Received):
		e.turnAway(req, "Too late")
	case e.held.crowded():
		e.turnAway(req, "Overloaded")
	case req.cmd == nil: // the list of all rooms of a device
		e.listed(req)
	case !e.ownership.has(req.roomHash()):
		e.ownedElsewhere(req)
	case !e.shardOfHash(req.roomHash()).inbox.request(req):
		e.turnAway(req, "Overloaded")
	}
}

// readNative reads who asks what of which room. req.cmd stays nil for a list of rooms.
func (e *Engine) readNative(req *request) *refusal {
	m := req.msg
	if m.Err != nil {
		return &refusal{code: 400, reason: "Bad request: " + clip(m.Err.Error())}
	}
	target, err := ParseName(m.RURI, "")
	if err != nil {
		return &refusal{code: 400, reason: "Bad request URI: " + err.Error()}
	}
	req.target, req.room = target, target
	from := m.Request.From()
	if req.from, err = NameOf(&from.Address); err != nil {
		return &refusal{code: 400, reason: "Bad From: " + err.Error()}
	}
	if m.Foreign {
		return &refusal{code: 403, reason: "Only for users of this domain"} // its devices are not registered here
	}
	e.users.met(req.fromKey())
	req.display = from.DisplayName
	if id := m.Request.CallID(); id != nil {
		req.callID = id.Value()
	}
	req.native = &nativeAsk{method: m.Request.Method, device: deviceOf(m.Request, req.from)}
	read := nativeReaders[m.Request.Method]
	if read == nil {
		return &refusal{code: 405, reason: "Method not allowed"}
	}
	return read(e, req)
}

// nativeReaders find the command of a request, by its method.
var nativeReaders = map[sip.RequestMethod]func(e *Engine, req *request) *refusal{
	sip.INVITE: (*Engine).readInvite, sip.SUBSCRIBE: (*Engine).readSubscribe, sip.REFER: (*Engine).readRefer,
	sip.BYE: func(_ *Engine, req *request) *refusal { req.cmd = nativeExit; return nil },
}

// The commands that are no lines of a text. Their return codes are those of the ones in the table.
var (
	nativeCreate = newNative("create", -30, needNobody, runNativeCreate)
	nativeTitle  = newNative("set", -160, needLook, runNativeTitle)
	nativeEnter  = newNative("list", -100, needMember, runNativeEnter)
	nativeState  = newNative("list", -100, needMember, runNativeState)
	nativeExit   = newNative("exit", -90, needMember, runNativeExit)
	nativeAdd    = newNative("add", -50, needInviter, runAdd)
	nativeRemove = newNative("remove", -80, needAdmin, runRemove)
	nativeRole   = newNative("modify", -120, needAdmin, runNativeRole)
)

func newNative(name string, base int, n need, run func(*call) *refusal) *command {
	return &command{names: []string{name}, base: base, roomAt: noRoomArg, need: n, run: run}
}

// readInvite reads a creation, another title, or that a device enters the room again, of which nobody hears.
func (e *Engine) readInvite(req *request) *refusal {
	r := req.msg.Request
	subject, err := plainText(headerOf(r, "Subject", "s"), maxDisplay)
	switch {
	case err != nil:
		return &refusal{code: 400, reason: "Subject: " + clip(err.Error())}
	case !req.msg.Factory && subject == "":
		req.cmd = nativeEnter
		return nil
	case !req.msg.Factory:
		req.cmd, req.text = nativeTitle, subject
		return nil
	case equalFold(headerOf(r, "End-To-End-Encrypted"), "true"):
		return &refusal{code: 488, reason: "No encrypted rooms here"}
	case equalFold(headerOf(r, "One-To-One-Chat-Room"), "true"):
		return &refusal{code: 488, reason: "No rooms of two here"}
	case req.native.device == "":
		return &refusal{code: 403, reason: "A device needs a GRUU"}
	}
	var refused *refusal
	if req.native.users, refused = readUsers(r); refused != nil {
		return refused
	}
	req.cmd, req.text = nativeCreate, subject
	req.room = e.newGroup(req)
	return nil
}

// readUsers reads the list of addresses in the body of a request.
func readUsers(r *sip.Request) ([]string, *refusal) {
	entity := entityOf(r)
	document, err := sipmsg.Decode(&entity)
	if err == nil {
		var users []string
		if users, err = native.ReadList(document); err == nil {
			return users, nil
		}
	}
	return nil, &refusal{code: 400, reason: clip(err.Error())}
}

// The name of a group: the prefix, letters that a hash of the request gives, and letters that are tried out.
const (
	groupPrefix  = "chat-"
	groupHashed  = 7
	groupTried   = 3
	groupLetters = "abcdefghijklmnopqrstuvwxyz234567"
	groupTries   = 1 << (5 * groupTried)
)

// newGroup is the name of the room that a request makes. The same request, repeated by its client or given to another
// engine after one has died, makes the same room. Whoever owns the slot of the request owns that of the room.
func (e *Engine) newGroup(req *request) store.Name {
	prefix := cmp.Or(e.served.Load().prefixed("x"), groupPrefix+"x")
	prefix = strings.TrimSuffix(prefix, "x") + req.groupHash()
	name := store.Name{Host: req.target.Host}
	for i := range groupTries {
		name.User = prefix
		for n := range groupTried {
			name.User += string(groupLetters[i>>(5*n)%len(groupLetters)])
		}
		if int(store.Hash(name.Key())%slots) == req.msg.Slot {
			break
		}
	}
	return name
}

// groupHash is what the names of the rooms have that are made in the session of a request.
func (req *request) groupHash() string {
	tag, _ := req.msg.Request.From().Params.Get("tag")
	sum := sha256.Sum256([]byte(req.callID + "\x00" + tag + "\x00" + req.fromKey()))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:groupHashed]
}

// readSubscribe reads which state a device has.
func (e *Engine) readSubscribe(req *request) *refusal {
	r := req.msg.Request
	if event := headerOf(r, "Event", "o"); !equalFold(mediaType(event), "conference") {
		return &refusal{code: 489, reason: "Bad event"}
	}
	tag, _ := r.To().Params.Get("tag")
	if req.msg.Factory {
		if tag != "" && (len(r.Body()) == 0 || headerOf(r, "Expires") == "0") {
			req.native.device = "" // it ends its subscription, or goes on with it, and names no rooms
			return nil
		}
		var refused *refusal
		req.native.users, refused = readUsers(r)
		return refused
	}
	if n, err := strconv.ParseUint(headerOf(r, "Last-Notify-Version"), 10, 32); err == nil {
		req.native.version = uint32(n)
	}
	req.cmd = nativeState
	if tag != "" {
		req.cmd = nativeEnter // goes on with its subscription: it has heard of all changes
	}
	return nil
}

// readRefer reads who comes, goes, or gets another role: Refer-To <URI;method=BYE>;admin=1.
func (e *Engine) readRefer(req *request) *refusal {
	value := headerOf(req.msg.Request, "Refer-To", "r")
	_, rest, ok := strings.Cut(value, "<")
	spec, params, closed := strings.Cut(rest, ">")
	if !ok || !closed {
		return &refusal{code: 400, reason: "Bad Refer-To"}
	}
	uri, uriParams, _ := strings.Cut(spec, ";")
	if _, err := ParseName(uri, ""); err != nil {
		return &refusal{code: 400, reason: "Bad Refer-To: " + clip(err.Error())}
	}
	req.args = []string{uri}
	role, asks := paramOf(params, "admin")
	switch method, _ := paramOf(uriParams, "method"); {
	case equalFold(method, "BYE"):
		req.cmd = nativeRemove
	case asks:
		req.cmd = nativeRole
		req.args = append(req.args, "member")
		if role == "1" || equalFold(role, "true") {
			req.args[1] = "admin"
		}
	default:
		req.cmd = nativeAdd
	}
	return nil
}

// nativeAnswer is the answer to such a request that was carried out.
func (req *request) nativeAnswer() evapi.Answer {
	a := evapi.Answer{Code: 200, Reason: "OK", RC: rcOK, Headers: evapi.HeaderLines(evapi.Header{Name: "Contact",
		Value: "<" + req.room.URI() + ">;isfocus"})}
	switch req.native.method {
	case sip.REFER:
		a.Code, a.Reason = 202, "Accepted"
	case sip.SUBSCRIBE:
		expires := "600"
		if n, err := strconv.ParseUint(headerOf(req.msg.Request, "Expires"), 10, 31); err == nil {
			expires = strconv.FormatUint(n, 10)
		}
		a.Headers += evapi.HeaderLines(evapi.Header{Name: "Expires", Value: expires})
	}
	return a
}

// withHeaders is an answer to a repetition, with its headers: they are not stored (store.SeenRow).
func (req *request) withHeaders(a evapi.Answer) evapi.Answer {
	if req.native != nil && a.Code < 300 && a.Headers == "" {
		a.Headers = req.nativeAnswer().Headers
	}
	return a
}

func runNativeCreate(c *call) *refusal {
	if c.room != nil {
		if m := c.room.get(c.req.fromKey()); m == nil || !m.owner() {
			return refuseExists("Room exists", "exists", nil)
		}
		// The request had made the room, and came again: its answer was lost with a Kamailio or an imcd.
		c.made()
		return nil
	}
	if r := c.open(true); r != nil {
		return r
	}
	if c.req.text != "" {
		if _, r := c.change(findSetting("title"), c.req.text); r != nil {
			return r
		}
	}
	// Who cannot be added is left out: the creator's client hears who is in.
	for _, uri := range c.req.native.users {
		c.req.args = []string{uri}
		if n, err := ParseName(uri, ""); err == nil && n.Key() != c.req.fromKey() {
			_ = runAdd(c)
		}
	}
	c.made().only = true
	return nil
}

func runNativeTitle(c *call) *refusal {
	if c.req.text != c.room.title() {
		if r := c.set(findSetting("title"), c.req.text); r != nil {
			return r
		}
	}
	return runNativeEnter(c)
}

func runNativeEnter(c *call) *refusal {
	if c.req.native.method == sip.INVITE {
		c.entered()
	}
	return nil
}

func runNativeState(c *call) *refusal {
	if headerOf(c.req.msg.Request, "Expires") != "0" {
		c.shard.groups.wants(c.room, c.req.fromKey(), c.req.native.device)
	}
	return nil
}

func runNativeRole(c *call) *refusal {
	if m, r := c.target(); r != nil || m.owner() {
		return r // an owner stays one: clients have no such role
	}
	return runModify(c)
}

// runNativeExit leaves a room to the others, whatever owner_leave says: the client has left already, and nobody expects
// that a tap on "leave" ends the group for all.
func runNativeExit(c *call) *refusal {
	if c.shard.groups.replaced(c.room, c.req) {
		return nil
	}
	return c.exit(OwnerLeaveTransfer)
}

// listed takes the list of the rooms that a device has, with their versions.
func (e *Engine) listed(req *request) {
	has := make(map[string]listedRoom)
	for _, uri := range req.native.users {
		if name, err := ParseName(uri, req.target.Host); err == nil {
			_, params, _ := strings.Cut(uri, ";")
			text, _ := paramOf(params, "Last-Notify")
			version, _ := strconv.ParseUint(text, 10, 32)
			has[name.Key()] = listedRoom{name, uint32(version)}
		}
	}
	user, device := req.fromKey(), req.native.device
	if device != "" {
		e.natives.learn(user, device)
		for _, s := range e.shards {
			s.inbox.post(func() { s.groups.listed(user, device, has) })
		}
	}
	e.settle(req, req.nativeAnswer())
}
