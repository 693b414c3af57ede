package engine

// What a command brings about waits in its tx until it is durable, as everything
// else does that the outside hears of.

// failed tells that a copy of a message has not arrived.
func (d *delivery) failed(f *flight, outcome string, code int) {
	if f.seq == 0 || f.missed > 0 || !d.engine.events.wants(EventFailure) {
		return
	}
	d.engine.events.publish(&Event{Kind: EventFailure, Time: d.now, Room: f.room.name, User: f.member.name(),
		Seq: f.seq, Code: code, Outcome: outcome})
}
