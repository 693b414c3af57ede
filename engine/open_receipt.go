package engine

import (
	"slices"

	"imcd/evapi"
)

// openReceipt is a message whose sender gets receipts: one when the last member that was online has the
// message, and one when all have displayed it.
type openReceipt struct {
	seq    uint64
	sender string // key
	id     string // under which the sender's client knows the message
	cpim   bool   // it used CPIM
	native bool   // it shows who has a message: the receipt of each member is passed on, instead of one for all
	plain  bool   // it does not: other devices of the sender show that, and all get these receipts
	via    *evapi.Conn

	delivered waitingFor // zero: sent, or not asked for
	displayed waitingFor
}

// waitingFor is the condition of one receipt.
type waitingFor struct {
	open    bool      // it is to be sent
	members []*member // that it must still happen to
	once    bool      // it has happened to a member
}

// hit notes that it has happened to m, and reports whether it was waited for.
func (w *waitingFor) hit(m *member) bool {
	n := len(w.members)
	w.once = true
	w.without(m)
	return len(w.members) < n
}

// without does not wait for m any more.
func (w *waitingFor) without(m *member) {
	if i := slices.Index(w.members, m); i >= 0 {
		last := len(w.members) - 1
		w.members[i], w.members[last] = w.members[last], nil
		w.members = w.members[:last]
	}
}

// due reports, once, that the receipt must be sent.
func (w *waitingFor) due() bool {
	if !w.open || !w.once || len(w.members) > 0 {
		return false
	}
	*w = waitingFor{}
	return true
}
