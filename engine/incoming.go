package engine

import (
	"strconv"
	"strings"
	"time"

	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// Message evaluates a MESSAGE request and answers it through the Relay. It never blocks: a request that
// cannot wait is answered 503.
func (e *Engine) Message(m *evapi.Message) {
	req := e.newRequest(m)
	e.opened(req)
	// Behind the request: who sends #leave is not sent something that was late just before.
	defer e.heard(req.from)
	switch {
	case req.refused == nil && req.content.Kind == sipmsg.Receipt:
		e.answerReceipt(req)
		return
	case e.stopping.Load():
		e.turnAway(req, "Shutting down")
		return
	case req.isLate(m.Received):
		e.turnAway(req, "Too late")
		return
	case e.held.crowded():
		e.turnAway(req, "Overloaded")
		return
	}
	if req.refused == nil && req.cmd != nil && req.cmd.is("rooms") {
		req.refused = e.refuseForeign(req, nil)
	}
	if req.refused == nil && req.cmd != nil && req.cmd.is("rooms") && e.listRooms(req) {
		return
	}
	if e.mayMake(req) && e.ownership.has(req.roomHash()) && e.lister.put(req) {
		return
	}
	e.hand(req)
}

// hand gives req to the shard of its room, or back to Kamailio if another engine has that.
func (e *Engine) hand(req *request) {
	if !e.ownership.has(req.roomHash()) && req.ofRoom() {
		e.ownedElsewhere(req)
		return
	}
	if !e.shardOfHash(req.roomHash()).inbox.request(req) {
		e.turnAway(req, "Overloaded")
	}
}

// answerReceipt answers a receipt that came as an ordinary request, as in CPIM. It is not passed on.
func (e *Engine) answerReceipt(req *request) {
	if !e.ownership.has(req.roomHash()) {
		e.ownedElsewhere(req)
		return
	}
	e.settle(req, e.accepted())
	e.noteReceipts(req.target, req.from, &req.content)
}

// listRooms gives req to the lister; false: it is refused in the ordinary way.
func (e *Engine) listRooms(req *request) bool {
	if req.refused = e.limitedSender(req, time.Now()); req.refused != nil {
		req.metered = true
		return false
	}
	if !e.lister.put(req) {
		e.turnAway(req, "Overloaded")
	}
	return true
}

// turnAway answers 503 without a notice: notices would add to the load.
func (e *Engine) turnAway(req *request, why string) {
	a := evapi.Answer{Code: 503, Reason: why, RC: req.base() - rcUnavailable, RetryAfter: e.cfg.RetryAfter}
	if req.refused == nil && req.content.Kind == sipmsg.Typing {
		a = e.accepted() // nobody misses it
	}
	e.settle(req, a)
}

// settle answers a request that no shard has.
func (e *Engine) settle(req *request, a evapi.Answer) {
	e.relay.Reply(req.msg, a)
	e.metrics.countRequest(req, a)
	e.logRequest(req, a, false)
	e.closed(req)
}

// Result takes the outcome of a copy that the Relay has sent. It never blocks.
func (e *Engine) Result(r evapi.Result) {
	if len(r.CallID) > 3 && r.CallID[3] == '-' {
		if strings.HasPrefix(r.CallID[4:], e.typingID) {
			return
		}
		if strings.HasPrefix(r.CallID[4:], e.groupID) {
			e.groupResult(r)
			return
		}
		if i, err := strconv.ParseUint(r.CallID[:3], 16, 16); err == nil && int(i) < len(e.shards) {
			e.shards[i].inbox.result(r)
			return
		}
	}
	e.metrics.countDelivery("stray")
}

// Wake says that a Kamailio is connected: waiting copies are tried again, as registrations may have been
// missed.
func (e *Engine) Wake() {
	for _, s := range e.shards {
		s.inbox.post(s.delivery.hurry)
		s.inbox.post(s.groups.connected)
	}
}

// Drained says that copies can be sent again after evapi.ErrFull. It never blocks.
func (e *Engine) Drained() { e.credits.drain() }

// Lost says that copies through c without a Result will get none, as the Kamailio was restarted. They are
// sent again.
func (e *Engine) Lost(c *evapi.Conn) {
	now := time.Now()
	for _, s := range e.shards {
		s.inbox.post(func() {
			s.delivery.lost(c, now)
			s.groups.lost(c, now)
		})
	}
}

// Registered says that a user has registered a device: waiting copies are sent now. aor is a SIP URI;
// other strings are ignored. It never blocks.
func (e *Engine) Registered(aor string) {
	name, err := ParseName(aor, "")
	if err != nil {
		return
	}
	key := name.Key()
	e.nativeElsewhere(name, aor)
	e.users.met(key)
	e.arrivals.add(key, time.Now())
	for _, s := range e.shards {
		s.inbox.heard(key, true)
	}
}

// Welcomed takes the configuration that a Kamailio reports. It never blocks for long.
func (e *Engine) Welcomed(kamailio string, w evapi.Welcome) {
	e.fitCredits()
	e.devices.welcomed(kamailio, &w)
	e.locator.askAll()
	e.welcomedMu.Lock()
	defer e.welcomedMu.Unlock()
	was, again := e.welcomed[kamailio]
	e.welcomed[kamailio] = w
	all := &served{domains: make(map[string]bool)}
	for name, w := range e.welcomed {
		err := all.add(&w)
		same := again && was.Rooms != nil && w.Rooms != nil && *was.Rooms == *w.Rooms
		if err != nil && name == kamailio && !same {
			e.log.Warn().Err(err).Str("kamailio", kamailio).
				Msg("names of rooms are not checked: IMC_ROOM cannot be read here as Kamailio reads it")
		}
	}
	e.served.Store(all)
}

// Linked says that a Kamailio is connected, or not any more. It never blocks.
func (e *Engine) Linked(kamailio string, up bool) {
	if e.events.wants(EventKamailio) {
		e.events.publish(&Event{Kind: EventKamailio, Time: time.Now(), Kamailio: kamailio, Up: up})
	}
}
