package engine

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/engine/native"
	"imcd/evapi"
)

// do puts a device among those that have something to do.
func (g *groups) do(d *groupDevice) {
	if !d.queued {
		d.queued = true
		g.ready = append(g.ready, d)
	}
}

// pump lets devices go on, as long as few requests are under way.
func (g *groups) pump() {
	for len(g.ready) > 0 && len(g.inFlight) < maxNativeFlight {
		d := g.ready[0]
		g.ready[0] = nil
		g.ready = g.ready[1:]
		d.queued = false
		if d.group.devices[d.gruu] == d && d.busy == "" && !d.away && g.here(d.group) && !g.absent(d.group) {
			g.next(d)
		}
	}
}

// next sends a device the next request that it needs. At most one is under way.
func (g *groups) next(d *groupDevice) {
	gr := d.group
	switch {
	case d.leaves && d.dialog != nil:
		dialog := d.dialog.Next()
		d.dialog = nil
		g.send(d, string(sip.BYE), d.callID, dialog, native.Document{})
	case d.leaves || !d.known || d.unacked:
		// A device hears a BYE only if it knows the session: one that was started again has to be invited first.
		g.open(d)
	case d.full && gr.room != nil:
		d.full, d.news = false, native.Document{}
		g.send(d, string(sip.NOTIFY), g.newID(), nil, g.state(gr))
		d.whole, d.untitled = d.busy != "", !gr.only
	case d.untitled && gr.room != nil:
		title := native.Conference{Room: gr.name.URI(), Version: gr.version, Partial: true, Title: gr.title, At: g.shard.now}
		d.untitled = false
		g.send(d, string(sip.NOTIFY), g.newID(), nil, title.Pack())
	case d.news.Body != nil:
		news := d.news
		d.news = native.Document{}
		g.send(d, string(sip.NOTIFY), g.newID(), nil, news)
	}
}

// state is the whole state of a group. Linphone shows a title that comes with it, but stores only those that come as a
// change: started again, it would show the one before. So the title follows as a change, with the version of the group,
// unless the room never had another one. It is made once for all devices that hear the same: that of a thousand members
// has 100 KB.
func (g *groups) state(gr *group) native.Document {
	if gr.whole.Body != nil && gr.whole.version == gr.version && gr.whole.only == gr.only {
		return gr.whole.Document
	}
	doc := native.Conference{Room: gr.name.URI(), Version: gr.version - 1, At: g.shard.now}
	if gr.only {
		doc.Version, doc.Title = gr.version, gr.title
	}
	for _, u := range gr.users {
		doc.Users = append(doc.Users, u)
	}
	slices.SortFunc(doc.Users, func(a, b native.User) int { return strings.Compare(a.URI, b.URI) })
	gr.whole = wholeState{doc.Pack(), gr.version, gr.only}
	return gr.whole.Document
}

func (g *groups) newID() string {
	g.serial++
	e := g.shard.engine
	return g.shard.delivery.prefix + e.groupID + strconv.FormatUint(g.serial, 36)
}

// contentOf is the request of a method from the group of a device.
func (d *groupDevice) contentOf(method string, doc native.Document) evapi.Content {
	gr, title := d.group, d.group.title
	if d.alien {
		title = gr.name.User // whoever is not in the room does not learn its title
	}
	c := evapi.Content{Method: method, From: "<" + gr.name.URI() + ">"}
	contact := "<" + gr.name.URI() + ">;isfocus"
	switch sip.RequestMethod(method) {
	case sip.INVITE:
		// "text" is what makes it a chat, and not a call.
		c.Headers = []evapi.Header{{Name: "Contact", Value: contact + ";text"},
			{Name: "Subject", Value: strings.TrimSpace(printable(title))},
			{Name: "Allow", Value: "INVITE, ACK, CANCEL, BYE, MESSAGE, SUBSCRIBE, NOTIFY, REFER, OPTIONS"}}
	case sip.NOTIFY:
		c.ContentType, c.Body = native.ConferenceType, doc.Body
		c.Headers = []evapi.Header{{Name: "Contact", Value: contact}, {Name: "Event", Value: "conference"},
			{Name: "Subscription-State", Value: "active;expires=600"}}
		if doc.Deflated {
			c.Headers = append(c.Headers, evapi.Header{Name: "Content-Encoding", Value: "deflate"})
		}
	}
	return c
}

// send sends a device a request. If that cannot be now, it is tried later, and when the device registers, or asks.
func (g *groups) send(d *groupDevice, method, callID string, dialog *evapi.Dialog, doc native.Document) {
	e := g.shard.engine
	var via *evapi.Conn
	out, err := evapi.NewOutgoing(d.contentOf(method, doc))
	if err == nil {
		via, err = e.relay.Send(nil, evapi.Copy{Out: out, To: d.gruu, CallID: callID, Dialog: dialog})
	}
	if err != nil {
		e.log.Debug().Err(err).Str("device", d.gruu).Str("method", method).Msg("native request not sent")
		d.full = d.full || method == string(sip.NOTIFY)
		g.leaveAlone(d, errors.Is(err, evapi.ErrDown) || errors.Is(err, evapi.ErrFull))
		return
	}
	// Not the time of the round: it may be that of a Kamailio that was restarted in it.
	d.busy, d.returned, d.sent, d.via = method, false, time.Now(), via
	g.inFlight[callID] = d
}

// leaveAlone leaves a device alone until it registers; soon: or for a moment, as it may be there. If it has registered
// while the request was under way, that may have gone to where it was before, and is sent again. A device that has a
// room which never was its user's names it in its next list: so nothing need be kept of it.
func (g *groups) leaveAlone(d *groupDevice, soon bool) {
	if d.returned {
		d.returned = false
		return
	}
	d.away = true
	if soon && !d.alien && g.shard.engine.natives.registered(d.user, d.gruu) && g.again.add(d, g.shard.now) {
		return
	}
	switch {
	case d.leaves && d.alien:
		g.forget(d)
	case d.leaves && d.group.room == nil:
		g.keepEnded(d)
	}
}

// maxEnded bounds the devices of a shard that were not there when their room ended. Above it the oldest hears of that
// only when it is started, and sends the list of its rooms; so do all after a start of imcd.
const maxEnded = 1024

// keepEnded keeps a device that was not there when its room ended, until it registers.
func (g *groups) keepEnded(d *groupDevice) {
	if len(g.ended) >= maxEnded {
		if old := g.ended[0]; old.away && old.leaves && old.group.room == nil {
			g.forget(old)
		}
		g.ended[0] = nil
		g.ended = g.ended[1:]
	}
	g.ended = append(g.ended, d)
}

// expire gives up requests without an outcome, which would hold up their devices for ever.
func (g *groups) expire() {
	for id, d := range g.inFlight {
		if g.shard.now.Sub(d.sent) >= g.shard.engine.cfg.ResultTimeout {
			g.result(evapi.Result{CallID: id, Code: 408, Reason: "no outcome"})
		}
	}
}

// lost says that requests that went through c before now will have no outcome.
func (g *groups) lost(c *evapi.Conn, now time.Time) {
	for id, d := range g.inFlight {
		if d.via == c && d.sent.Before(now) {
			g.result(evapi.Result{CallID: id, Code: 503, Local: true, Reason: "Kamailio was restarted"})
		}
	}
}

// groupResult takes the outcome of a request to a device.
func (e *Engine) groupResult(r evapi.Result) {
	i, err := strconv.ParseUint(r.CallID[:3], 16, 16)
	if err != nil || int(i) >= len(e.shards) {
		return
	}
	s := e.shards[i]
	s.inbox.post(func() { s.groups.result(r) })
}

// result takes the outcome of a request to a device, which then goes on.
func (g *groups) result(r evapi.Result) {
	d := g.inFlight[r.CallID]
	if d == nil {
		return
	}
	delete(g.inFlight, r.CallID)
	method, whole := d.busy, d.whole
	d.busy, d.whole = "", false
	ok, soon := r.Code >= 200 && r.Code < 300, unanswered(&r)
	g.shard.engine.metrics.grouped.WithLabelValues(method, outcome(r)).Inc()
	if !soon {
		d.tries = 0
	}
	if !ok {
		g.shard.engine.log.Debug().Str("device", d.gruu).Str("method", method).Int("code", r.Code).
			Str("reason", r.Reason).Msg("native request failed")
	}
	switch sip.RequestMethod(method) {
	case sip.INVITE:
		if !ok {
			if r.Code == 404 {
				g.notReached(d)
			} else {
				d.unacked = d.unacked && soon
			}
			g.leaveAlone(d, soon)
			break
		}
		d.accepts()
		d.dialog, d.asked = r.Dialog, g.shard.now
		if !d.leaves {
			g.know(d)
			d.holds, d.unsure, d.cut = false, true, g.cuts
		} else if r.Dialog == nil {
			g.forget(d)
		}
	case sip.BYE:
		switch {
		case !d.leaves: // its user has come back meanwhile
			d.known = d.known && !ok
		case ok:
			g.forget(d)
		case r.Code == 481: // it was started again meanwhile: INVITE, and then BYE
		default:
			g.leaveAlone(d, soon)
		}
	case sip.NOTIFY:
		switch {
		case ok:
			// If it has registered meanwhile, that may have been the answer of a client that was started again.
			d.holds = d.holds || whole && d.known && !d.returned
		case r.Code == 481: // it does not have the room
			d.known = false
		default:
			d.full = true
			g.leaveAlone(d, soon)
		}
	}
	g.do(d)
	g.pump()
}
