package engine

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/engine/native"
	"imcd/engine/store"
)

// A client leaves a room by the BYE of its session. Linphone, invited once more into a room that it has, also ends the
// session before by a BYE. Only the Call-ID tells one from the other: so that of each INVITE is stored before it is
// sent. An imcd that is started meanwhile knows by it, too, that the device may have the room; and by the row of
// settingNative, which is gone from the INVITE to the ACK, whether it has had that: a client without an ACK ends its
// session after half a minute, and has left the room by that. So it is invited once more.

// settingSession is the session of a device, as it is stored: Who is the device without "sip:", the value is the
// Call-ID of the last INVITE to it or from it, a space, and the key of its user.
const settingSession = "native_session"

// settingOwn is likewise the last session that a device began by itself, once an INVITE has replaced it. The Call-IDs
// of imcd's own INVITEs are known by their form.
const settingOwn = "native_own"

// rowOf is a stored value of the group.
func (gr *group) rowOf(name, who, value string) store.Change {
	return store.Change{Op: store.PutSetting, Setting: &store.SettingRow{Room: gr.room.id, Name: name, Who: who,
		Value: value}}
}

// who names the device in its rows.
func (d *groupDevice) who() string { return d.gruu[len("sip:"):] }

// sessionValue is the value of a row for a session; empty: the Call-ID is a client's, and cannot be stored.
func (d *groupDevice) sessionValue(callID string) string {
	value := callID + " " + d.user
	if strings.ContainsAny(callID, " \x00") || !isPrintable(callID) || len(value) > store.MaxSetting {
		return ""
	}
	return value
}

// isPrintable reports whether s has nothing but letters, digits and signs of ASCII.
func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

// fillSession takes a stored session.
func (gr *group) fillSession(row *store.SettingRow) (d *groupDevice, ok bool) {
	callID, user, ok := strings.Cut(row.Value, " ")
	if !ok {
		return nil, false
	}
	d = gr.device(user, "sip:"+row.Who)
	if row.Name == settingOwn {
		d.own = callID
		return d, false
	}
	d.callID, d.invited, d.accepted, d.unacked, d.unsure = callID, true, true, !d.kept, true
	return d, true
}

// open begins a session with a device: its Call-ID is stored, and then the INVITE is sent.
func (g *groups) open(d *groupDevice) {
	was := d.deviceSession
	own := d.accepted && !groupCallID(d.callID)
	if own {
		d.own = d.callID
	}
	if d.accepted {
		d.before, d.accepted = d.callID, false
	}
	id := g.newID()
	d.callID, d.asked, d.unacked = id, g.shard.now, true
	if d.group.room == nil || d.alien {
		g.sendInvite(d)
		return
	}
	d.busy, d.returned, d.sent, d.via = string(sip.INVITE), false, time.Now(), nil
	g.inFlight[id] = d
	rows := append(d.group.roomRow(), d.group.rowOf(settingSession, d.who(), d.sessionValue(id)))
	if own {
		rows = append(rows, d.group.rowOf(settingOwn, d.who(), d.sessionValue(d.own)))
	}
	if d.kept {
		d.kept = false
		rows = append(rows, d.group.rowOf(settingNative, d.who(), ""))
	}
	g.shard.store(rows, false, func(err error) {
		if errors.Is(err, store.ErrUnavailable) && d.callID == id {
			d.deviceSession = was
		}
		g.opened(d, id, err)
	})
}

// opened goes on with an INVITE whose session is stored. While the database is away, it is tried again as one without
// an answer; if it refuses the row, the device is invited all the same.
func (g *groups) opened(d *groupDevice, id string, err error) {
	if g.inFlight[id] != d {
		return // it was given up
	}
	delete(g.inFlight, id)
	d.busy = ""
	switch {
	case d.group.devices[d.gruu] != d || !g.here(d.group) || g.absent(d.group):
	case d.leaves && !d.known && !d.invited: // its user has left meanwhile, and it has heard of nothing
		g.forget(d)
	case errors.Is(err, store.ErrUnavailable):
		g.leaveAlone(d, true)
		g.do(d)
	default:
		g.sendInvite(d)
	}
	g.pump()
}

// undoes takes back what a call has made of the session of a device, if it is not stored, and no INVITE has followed.
func (c *call) undoes(d *groupDevice, was deviceSession) {
	id := d.callID
	c.after = func(err error) {
		if err != nil && d.callID == id {
			d.deviceSession = was
		}
	}
}

func (g *groups) sendInvite(d *groupDevice) {
	g.send(d, string(sip.INVITE), d.callID, nil, native.Document{})
	d.invited = d.invited || d.busy != ""
}

// accepts notes that a device has accepted its last INVITE.
func (d *groupDevice) accepts() { d.before, d.accepted, d.unacked = "", true, false }

// notReached notes that an INVITE has not come to a device, because it is not registered: what was before holds.
func (g *groups) notReached(d *groupDevice) {
	if d.before != "" {
		d.callID, d.before, d.accepted = d.before, "", true
		g.keepSession(d)
	} else if !d.known {
		d.callID, d.invited = "", false
		g.keepSession(d)
	}
}

// keepSession stores the session of a device.
func (g *groups) keepSession(d *groupDevice) {
	value := ""
	if d.callID != "" {
		value = d.sessionValue(d.callID)
	}
	g.keepRow(d.group, settingSession, d.who(), value)
}

// entered notes the session that a device begins by itself in a room that it has: it changes the title, or leaves, and
// was started again since it was invited. While it is invited, the session of that INVITE will be its last.
func (c *call) entered() {
	req, gr := c.req, c.shard.groups.byRoom[c.room.key]
	if tag, _ := req.msg.Request.To().Params.Get("tag"); tag != "" || gr == nil {
		return
	}
	d := gr.devices[req.native.device]
	if d == nil || d.user != req.fromKey() || d.callID == req.callID || d.busy == string(sip.INVITE) {
		return
	}
	gr.room = c.room
	was := d.deviceSession
	d.callID, d.before, d.accepted, d.dialog = req.callID, "", true, nil
	c.changes = append(append(c.changes, gr.roomRow()...), gr.rowOf(settingSession, d.who(), d.sessionValue(d.callID)))
	c.undoes(d, was)
}

// replaced reports whether the BYE of a user ends a session that an INVITE has replaced, and does not leave the room. A
// device does not ask for the state then, so it hears it.
func (g *groups) replaced(r *room, req *request) bool {
	gr, user, callID := g.byRoom[r.key], req.fromKey(), req.callID
	if gr == nil {
		return false
	}
	earlier := groupCallID(callID)
	for _, d := range gr.devices {
		earlier = earlier || d.own == callID && d.user == user
	}
	if !earlier {
		return false
	}
	var others []*groupDevice
	unknown := false
	for _, d := range gr.devices {
		recent := g.shard.now.Sub(d.asked) < replacedWithin
		switch {
		case d.user != user:
		case d.callID == callID, d.before == callID && !recent:
			return false
		case d.callID == "": // an older imcd has stored none
			unknown = true
		case d.busy == string(sip.INVITE) || d.accepted || recent:
			others = append(others, d)
		}
	}
	if unknown {
		return false
	}
	for _, d := range others {
		d.full = true
		g.do(d)
	}
	return len(others) > 0
}

// replacedWithin is how long an INVITE without an answer may have been the reason of a BYE in the session before.
const replacedWithin = 10 * time.Second

// groupCallID reports whether a Call-ID is that of an INVITE of imcd's, of this or another engine: the shard, the tag
// of the engine, the mark, and the number.
func groupCallID(id string) bool {
	shard, rest, _ := strings.Cut(id, "-")
	tag, _, marked := strings.Cut(rest, groupMark)
	_, noHex := strconv.ParseUint(tag, 16, 64)
	return len(shard) == 3 && marked && noHex == nil
}
