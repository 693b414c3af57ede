package evapi

import (
	"math/rand/v2"
	"time"
)

// sipAgain are the times from one sending of a request over UDP to the next (RFC 3261,
// 17.1.2.1: T1, doubled each time, up to T2). After the last one the request is given up,
// later than Kamailio gives up a copy in its own routing.
var sipAgain = [...]time.Duration{
	500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 2 * time.Second,
}

// sipTx is a copy without a final response. The link's mutex guards place, due and over.
type sipTx struct {
	branch uint64
	out    *Outgoing
	to     string
	callID string
	dest   string // Copy.Dest
	device string // Copy.Device
	dialog *Dialog
	place  uint64 // see sipFlow

	due   time.Time // when it is sent again
	first bool      // Copy.First
	over  bool
	rang  bool // an INVITE with a provisional response: it is not sent again (RFC 3261, 17.1.1.2)
}

// newBranch makes a number that nobody can guess who has not seen the request.
func newBranch() uint64 { return rand.Uint64() }

// newSIPTx makes the transaction of a queued copy.
func newSIPTx(e entry) *sipTx {
	return &sipTx{branch: newBranch(), out: e.out, to: e.to, callID: e.callID, dest: e.dest, device: e.device,
		dialog: e.dialog, first: e.first}
}

// result makes the Result of the copy.
func (tx *sipTx) result(r Result) Result { return copyKey{tx.callID, tx.device}.result(r) }

// sipTransactions are the open transactions of a link, whose mutex guards them.
type sipTransactions struct {
	byBranch map[uint64]*sipTx
	// stages are the same, and some that are over, by the time for which they wait. So each
	// is in the order in which they are due.
	stages [len(sipAgain)][]*sipTx
}

func newSIPTransactions() sipTransactions { return sipTransactions{byBranch: make(map[uint64]*sipTx)} }

// begin makes the transaction of a copy that is sent now.
func (p *sipTransactions) begin(e entry, now time.Time) *sipTx {
	tx := newSIPTx(e)
	p.byBranch[tx.branch] = tx
	p.await(tx, 0, now)
	return tx
}

func (p *sipTransactions) await(tx *sipTx, stage int, now time.Time) {
	tx.due = now.Add(sipAgain[stage])
	p.stages[stage] = append(p.stages[stage], tx)
}

// end removes and returns the transaction with a branch; nil if there is none.
func (p *sipTransactions) end(branch uint64) *sipTx {
	tx := p.byBranch[branch]
	if tx != nil {
		delete(p.byBranch, branch)
		tx.over = true // it may stay in a stage for a while
	}
	return tx
}

// due appends the transactions that are sent again now to again, up to most in all and as
// long as take accepts them, and those that are given up to expired. Unless open, nothing is
// sent, and the times pass all the same.
func (p *sipTransactions) due(now time.Time, most int, open bool, take func(*sipTx) bool,
	again, expired []*sipTx) (_, _ []*sipTx) {
	for stage := range p.stages {
		q := p.stages[stage]
		for len(q) > 0 && (q[0].over || !q[0].due.After(now)) && len(again) < most {
			tx := q[0]
			if open && !tx.over && !tx.rang && stage < len(p.stages)-1 && !take(tx) {
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
				if open && !tx.rang {
					again = append(again, tx)
				}
			}
		}
		p.stages[stage] = q
	}
	return again, expired
}

// idle is the wait without any transaction.
const idle = time.Hour

// wait is the time until the next transaction is due.
func (p *sipTransactions) wait(now time.Time) time.Duration {
	d := idle
	for _, q := range p.stages {
		if len(q) > 0 {
			d = min(d, q[0].due.Sub(now))
		}
	}
	return max(d, 0)
}
