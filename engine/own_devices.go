package engine

import (
	"strings"
	"time"

	"imcd/evapi"
)

// What a user writes on one device comes to the others as well, from the room (own_devices). Nobody waits for that: the
// sender has the message, and a device that does not take it is owed it. The device that it was written on is left out;
// where it is not known, as behind a proxy that hides addresses, no device gets it.

// sentOn is the device that a message was written on, as store.MessageRow.Device has it.
func (e *Engine) sentOn(req *request) string {
	if !e.cfg.OwnDevices || req.order != nil || req.msg == nil {
		return ""
	}
	source := deviceText(evapi.SourceOf(req.msg.Proto, req.msg.SrcIP, req.msg.SrcPort))
	list := e.devices.of(req.fromKey())
	if list == nil {
		return source // of the only one that is registered
	}
	instance, found := requestInstance(req), ""
	for _, v := range list {
		if instance != "" && v.row.Device == instance {
			return instance
		}
		if source != "" && *v.source.Load() == source {
			if found != "" {
				return "" // behind a proxy
			}
			found = v.row.Device
		}
	}
	return found
}

// requestInstance is the +sip.instance of the contact of a request, or that in a GRUU in From; empty: it has neither.
func requestInstance(req *request) string {
	if req.msg.Request == nil {
		return ""
	}
	if gr, ok := grOf(req.msg.Request.From().Address.UriParams); ok {
		return deviceText(gr)
	}
	contact := req.msg.Request.Contact()
	if contact == nil {
		return ""
	}
	instance, _ := contact.Params.Get("+sip.instance")
	return deviceText(strings.Trim(instance, `"<>`))
}

// is reports whether it is the device that a message was written on.
func (v *device) is(sentOn string) bool { return v.row.Device == sentOn || *v.source.Load() == sentOn }

// ownCopy reports whether another device of the sender than that gets a copy of a message.
func (u *userDevices) ownCopy(sender, sentOn string, now time.Time) bool {
	if sentOn == "" {
		return false
	}
	live, others, ok := registered(u.of(sender), now)
	return ok && len(withoutSender(live, sentOn))+len(withoutSender(others, sentOn)) > 0
}

// withoutSender are the devices but for the one that a message was written on. The list is not changed.
func withoutSender(list []*device, sentOn string) (rest []*device) {
	for _, v := range list {
		if !v.is(sentOn) {
			rest = append(rest, v)
		}
	}
	return rest
}

// owes reports whether m must get a message of a sender, written on a device; seq 0 is a notice.
func (d *delivery) owes(r *room, m *member, sender, sentOn string, seq uint64) bool {
	return d.concerns(m, sender, sentOn) && (seq == 0 || seq > m.cursor && !r.hasHad(m, seq))
}

// concerns reports whether m gets messages of a sender.
func (d *delivery) concerns(m *member, sender, sentOn string) bool {
	return sender != m.key || d.engine.devices.ownCopy(sender, sentOn, d.now)
}

// sentByMember is the device on which m has written the next copy; empty: somebody else has.
func (d *delivery) sentByMember(r *room, m *member, f *sentCopy) string {
	if f.notice != noLossNotice || f.missed > 0 || m.inFlight != nil {
		return ""
	}
	if m.mode == following {
		if e := r.log.at(m.next); e.skip == m.key {
			return e.sentOn
		}
		return ""
	}
	if item := m.pageItem(); item != nil && item.sender == m.key {
		return item.sentOn
	}
	return ""
}
