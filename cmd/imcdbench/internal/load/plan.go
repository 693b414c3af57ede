package load

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Plan describes the messages that Send sends.
type Plan struct {
	Addr  string        // of the Kamailio, host:port
	Rooms []Room        //
	Body  int           // bytes of a message
	For   time.Duration // how long to send
	// Least is how many messages to send even if that takes longer than For, but no
	// longer than leastFor times that.
	Least int
	// Window is how many messages of a room may be on their way to members. The
	// next one is sent once the last was answered, too.
	Window int
	// Rate is messages per second, all rooms in turn, whatever is on its way; 0:
	// as fast as Window lets.
	Rate float64
	// Quiet ends the wait for the last deliveries when so long nothing came, and
	// lets a room go on past a message that some member does not get.
	Quiet time.Duration
	// Drain ends that wait in any case, so long after the last message; 0: never.
	// Who drowns in repetitions goes on for ever.
	Drain time.Duration
	// Paces are those of the first rooms; the others, and with a Rate all of them,
	// have none.
	Paces []Pace
	// Watch says that what becomes of each message to the first room is in
	// Result.Watched, too.
	Watch bool
	// Most ends it after so many messages; 0: after For alone.
	Most int
	// Then, if it is not nil, is called once everything was sent and answered.
	// Result.AfterThen counts from there.
	Then func(ctx context.Context) error
}

// Pace is how messages are sent to one room. The zero value is that of all rooms.
type Pace struct {
	After time.Duration // not before so long after the start
	Every time.Duration // one message each, whatever is on its way; 0: as Plan.Window lets
	Most  int           // no more than so many; 0: no limit
}

// tick is how often it is looked whether something is due.
func (p *Plan) tick() time.Duration {
	tick := tickers
	for _, pace := range p.Paces {
		if pace.Every > 0 {
			tick = min(tick, pace.Every)
		}
	}
	return tick
}

const leastFor = 15

// over reports whether no more is to be sent, after a time and so many messages.
func (p *Plan) over(after time.Duration, sent int) bool {
	return after >= p.For && (sent >= p.Least || after >= leastFor*p.For)
}

// Result is the result of a Plan.
type Result struct {
	Sent       int         `json:"sent"`
	Accepted   int         `json:"accepted"`    // answered 2xx
	Codes      map[int]int `json:"codes"`       // answers by code; 0: none came
	RetryAfter int         `json:"retry_after"` // answers with that header
	Resent     int         `json:"resent"`      // retransmissions of the sender
	Deliveries int64       `json:"deliveries"`  // of a message to a member, each counted once
	InTime     int64       `json:"in_time"`     // of these, while messages were sent
	Lost       int64       `json:"lost"`        // deliveries of accepted messages that did not come
	Cut        bool        `json:"cut"`         // Drain was over, and copies still came
	// copies that are not the first of their message and member
	Duplicates      int64         `json:"duplicates"`
	Retransmissions int64         `json:"retransmitted"`     // repetitions of the same request at the sink
	Sending         time.Duration `json:"sending_ns"`        // how long messages were sent
	Elapsed         time.Duration `json:"elapsed_ns"`        // from the first message to the last delivery
	Answers         Times         `json:"answers_ns"`        // until a message was answered 2xx
	Complete        Times         `json:"complete_ns"`       // until the last member had a message
	Silent          int64         `json:"silent"`            // first copies at members that never answer
	SilentAgain     int64         `json:"silent_again"`      // further copies at these
	Watched         []Sample      `json:"watched,omitempty"` // see Plan.Watch
	AfterThen       time.Duration `json:"after_then_ns"`     // from Plan.Then to the last delivery
}

// Sample is the outcome of one message.
type Sample struct {
	At       time.Duration `json:"at_ns"`       // when it was sent, since the start
	Answer   time.Duration `json:"answer_ns"`   // until it was answered 2xx; 0: it was not
	Complete time.Duration `json:"complete_ns"` // until the last member had it; 0: never
}

// PerSecond is deliveries per second, from the first message to the last
// delivery.
func (r *Result) PerSecond() float64 { return perSecond(r.Deliveries, r.Elapsed) }

// Steady is deliveries per second while messages were sent: late stragglers do
// not count.
func (r *Result) Steady() float64 { return perSecond(r.InTime, r.Sending) }

func perSecond(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// Times are durations in nanoseconds, sorted.
type Times []int64

func (t *Times) add(d time.Duration) { *t = append(*t, int64(d)) }

// TimesOf sorts copies of durations.
func TimesOf(list []time.Duration) Times {
	t := make(Times, len(list))
	for i, d := range list {
		t[i] = int64(d)
	}
	slices.Sort(t)
	return t
}

// At is the quantile q, 0 to 1; 0 if there are none.
func (t Times) At(q float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	return time.Duration(t[min(len(t)-1, int(q*float64(len(t))))])
}

// Send carries out a plan and waits until all members have all messages, or
// nothing comes any more.
func (l *Load) Send(ctx context.Context, p Plan) (res *Result, err error) {
	c, err := dial(p.Addr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	s := newSending(c, p, l.runs.next(), l.Sink.phones.Load())
	l.Sink.current.Store(s.run)
	defer l.Sink.current.Store(nil)
	defer close(s.run.over)
	if err := s.loop(ctx); err != nil {
		return nil, err
	}
	res = s.result()
	slices.Sort(res.Answers)
	slices.Sort(res.Complete)
	return res, nil
}
