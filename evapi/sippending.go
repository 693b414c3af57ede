package evapi

import (
	"math/rand/v2"
	"time"
)

// sipAgain are the times from one sending of a request over UDP to the next (RFC
// 3261, 17.1.2.1: T1, doubled each time, up to T2). After the last one the
// request is given up, later than Kamailio gives up a copy in its own routing.
var sipAgain = [...]time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 2 * time.Second}

// sipTx is a copy whose final response is awaited.
type sipTx struct {
	branch uint64
	out    *Outgoing
	to     string
	callID string
	dest   string // see Copy
	first  bool   // see Copy
	name   string // what is to be looked up, see nameWay; empty: nothing
	place  uint64 // see sipPace; guarded by its link's mutex

	due  time.Time // when it is sent again; guarded by its link's mutex, as over is
	over bool
}

// room is what the request takes of Kamailio's socket.
func (tx *sipTx) room() uint64 { return roomFor(tx.size()) }

// size is the length of the request, at most.
func (tx *sipTx) size() int { return tx.out.sipSize(len(tx.to), len(tx.callID)) + destRoom(tx.dest) }

// newBranch makes what nobody can guess who has not seen the request.
func newBranch() uint64 { return rand.Uint64() }

// sipPending are the transactions of a link. Guarded by its mutex.
type sipPending struct {
	byBranch map[uint64]*sipTx
	// stages are the same, and some that are over, by the time for which they
	// wait, and so in the order in which they are due.
	stages [len(sipAgain)][]*sipTx
}

func newSIPPending() sipPending { return sipPending{byBranch: make(map[uint64]*sipTx)} }

// newSIPTx makes the transaction of a queued copy.
func newSIPTx(e entry) *sipTx {
	return &sipTx{branch: newBranch(), out: e.out, to: e.to, callID: e.callID, dest: e.dest, first: e.first}
}

// begin makes the transaction of a copy that is sent now.
func (p *sipPending) begin(e entry, now time.Time) *sipTx {
	tx := newSIPTx(e)
	p.byBranch[tx.branch] = tx
	p.await(tx, 0, now)
	return tx
}

func (p *sipPending) await(tx *sipTx, stage int, now time.Time) {
	tx.due = now.Add(sipAgain[stage])
	p.stages[stage] = append(p.stages[stage], tx)
}

// end takes the transaction with a branch away; nil if there is none.
func (p *sipPending) end(branch uint64) *sipTx {
	tx := p.byBranch[branch]
	if tx != nil {
		delete(p.byBranch, branch)
		tx.over = true // it may stand in a queue for a while
	}
	return tx
}

// due appends what is to be sent again, up to most in all and as far as there is room for
// it, which take takes, and what is to be given up. Unless open, nothing is sent, and its
// time passes all the same.
func (p *sipPending) due(now time.Time, most int, open bool, take func(*sipTx) bool, again, expired []*sipTx) (_, _ []*sipTx) {
	for stage := range p.stages {
		q := p.stages[stage]
		for len(q) > 0 && (q[0].over || !q[0].due.After(now)) && len(again) < most {
			tx := q[0]
			if open && !tx.over && stage < len(p.stages)-1 && !take(tx) {
				break
			}
			q[0] = nil
			q = q[1:]
			switch {
			case tx.over:
			case stage == len(p.stages)-1:
				delete(p.byBranch, tx.branch)
				expired = append(expired, tx)
			default:
				p.await(tx, stage+1, now)
				if open {
					again = append(again, tx)
				}
			}
		}
		p.stages[stage] = q
	}
	return again, expired
}

// idle is how long nothing need be done when nothing is awaited.
const idle = time.Hour

// wait is the time until the next transaction is due.
func (p *sipPending) wait(now time.Time) time.Duration {
	d := idle
	for _, q := range p.stages {
		if len(q) > 0 {
			d = min(d, q[0].due.Sub(now))
		}
	}
	return max(d, 0)
}

// clear forgets all.
func (p *sipPending) clear() { *p = newSIPPending() }
