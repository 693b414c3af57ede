package load

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// maxMessages bounds the messages of one run.
const maxMessages = 1 << 18

// sending is one Plan being carried out. Its goroutine owns everything in it; the
// sink's sockets share run.
type sending struct {
	client *Client
	plan   Plan
	run    *run
	rooms  []roomState

	underWay map[uint32]*outgoing // neither answered nor complete yet, or one of both
	sent     int
	next     int // room that is to send next, with a Rate
	ended    time.Time
	then     time.Time // when Plan.Then was called
	inTime   int64
	res      Result
}

// roomState is where a room's sender stands.
type roomState struct {
	waiting bool // for an answer
	ahead   int  // messages that some member has not got
	sent    int
	want    int // members that answer
	pace    Pace
}

// outgoing is one message on its way.
type outgoing struct {
	room     int
	packet   []byte // to be sent again
	first    time.Time
	again    time.Time // when to retransmit
	interval time.Duration
	answered bool
	code     int
	complete bool
	passed   bool // the room goes on without its completion
	sample   int  // its index in Result.Watched; -1: none
}

func newSending(c *Client, p Plan, number uint32, phones *Phones) *sending {
	most := p.Most
	if most == 0 {
		most = maxMessages
	}
	s := &sending{client: c, plan: p, rooms: make([]roomState, len(p.Rooms)), underWay: make(map[uint32]*outgoing),
		run: &run{number: number, slots: make([]atomic.Pointer[message], most), full: make(chan full, 1024),
			over: make(chan struct{}), start: time.Now()},
		res: Result{Codes: make(map[int]int)}}
	for i := range s.rooms {
		s.rooms[i].want = phones.answering(&p.Rooms[i])
		if i < len(p.Paces) {
			s.rooms[i].pace = p.Paces[i]
		}
	}
	return s
}

// loop sends, takes what comes and ends when nothing is owed or comes any more.
func (s *sending) loop(ctx context.Context) error {
	tick := time.NewTicker(s.plan.tick())
	defer tick.Stop()
	for {
		if err := s.fill(); err != nil {
			return fmt.Errorf("send a message: %w", err)
		}
		if s.plan.Then != nil && s.then.IsZero() && s.answered() {
			s.then = time.Now()
			if err := s.plan.Then(ctx); err != nil {
				return err
			}
		}
		if s.finished() {
			return nil
		}
		select {
		case r := <-s.client.replies:
			s.answer(r)
		case f := <-s.run.full:
			s.completed(f)
		case now := <-tick.C:
			if err := s.timers(now); err != nil {
				return fmt.Errorf("send a message again: %w", err)
			}
		case <-ctx.Done():
			return fmt.Errorf("%d messages sent, %d under way: %w", s.sent, len(s.underWay), ctx.Err())
		}
	}
}

// fill sends what may be sent now.
func (s *sending) fill() error {
	if !s.ended.IsZero() {
		return nil
	}
	now := time.Now()
	if s.plan.over(now.Sub(s.run.start), s.sent) || s.sent == len(s.run.slots) {
		s.ended, s.inTime = now, s.run.deliveries.Load()
		return nil
	}
	if s.plan.Rate > 0 {
		for due := int(now.Sub(s.run.start).Seconds() * s.plan.Rate); s.sent < min(due, len(s.run.slots)); {
			if err := s.send(s.next); err != nil {
				return err
			}
			s.next = (s.next + 1) % len(s.rooms)
		}
		return nil
	}
	for i := range s.rooms {
		for s.due(&s.rooms[i], now.Sub(s.run.start)) && s.sent < len(s.run.slots) {
			if err := s.send(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// due reports whether a room's next message is to be sent now, so long after the start.
func (s *sending) due(r *roomState, after time.Duration) bool {
	if after < r.pace.After || r.pace.Most > 0 && r.sent >= r.pace.Most {
		return false
	}
	if r.pace.Every > 0 {
		return after-r.pace.After >= time.Duration(r.sent)*r.pace.Every
	}
	return !r.waiting && r.ahead < s.plan.Window
}

// answered reports whether everything was sent and has its answer, or gets none.
func (s *sending) answered() bool {
	if s.ended.IsZero() {
		return false
	}
	for _, f := range s.underWay {
		if !f.answered && time.Since(f.first) < giveUp {
			return false
		}
	}
	return true
}

func (s *sending) send(i int) error {
	room, id := &s.plan.Rooms[i], uint32(s.sent)
	now := time.Now()
	r := &s.rooms[i]
	f := &outgoing{room: i, first: now, again: now.Add(t1), interval: t1, sample: -1}
	f.packet = s.client.writer.message(nil, room.Sender, room.Name, mark{s.run.number, id}, s.plan.Body)
	s.run.slots[id].Store(&message{room: room, since: now, got: make([]atomic.Uint32, room.Members), want: r.want})
	s.underWay[id] = f
	s.sent++
	r.sent++
	r.waiting = true
	r.ahead++
	if i == 0 && s.plan.Watch {
		f.sample = len(s.res.Watched)
		s.res.Watched = append(s.res.Watched, Sample{At: now.Sub(s.run.start)})
	}
	if r.want == 0 {
		f.complete = true // nobody is to have it
		s.pass(f)
	}
	return s.client.send(f.packet)
}

func (s *sending) answer(r timedReply) {
	f := s.underWay[r.mark.message]
	if r.mark.run != s.run.number || f == nil || f.answered {
		return
	}
	s.res.Codes[r.code]++
	if r.retry {
		s.res.RetryAfter++
	}
	f.answered, f.code = true, r.code
	s.rooms[f.room].waiting = false
	if r.code >= 300 {
		s.pass(f) // nothing is owed
	} else {
		s.res.Answers.add(r.at.Sub(f.first))
		if f.sample >= 0 {
			s.res.Watched[f.sample].Answer = r.at.Sub(f.first)
		}
	}
	s.forget(r.mark.message, f)
}

func (s *sending) completed(c full) {
	f := s.underWay[c.message]
	if f == nil {
		return
	}
	f.complete = true
	s.res.Complete.add(c.at.Sub(f.first))
	if f.sample >= 0 {
		s.res.Watched[f.sample].Complete = c.at.Sub(f.first)
	}
	s.pass(f)
	s.forget(c.message, f)
}

// pass lets the room of f send the next message.
func (s *sending) pass(f *outgoing) {
	if !f.passed {
		f.passed = true
		s.rooms[f.room].ahead--
	}
}

// forget drops a message of which nothing more is to come.
func (s *sending) forget(id uint32, f *outgoing) {
	if f.answered && (f.complete || f.code >= 300) {
		delete(s.underWay, id)
	}
}

// timers sends again what was not answered, and lets rooms go on whose members do
// not get something.
func (s *sending) timers(now time.Time) error {
	quiet := now.Sub(s.newest()) > s.plan.Quiet
	for _, f := range s.underWay {
		if f.answered && quiet && now.Sub(f.first) > s.plan.Quiet {
			s.pass(f)
		}
		if f.answered || now.Before(f.again) || now.Sub(f.first) > giveUp {
			continue
		}
		f.interval = min(2*f.interval, t2)
		f.again = now.Add(f.interval)
		s.res.Resent++
		if err := s.client.send(f.packet); err != nil {
			return err
		}
	}
	return nil
}

// newest is when the last delivery or, before any, the start was.
func (s *sending) newest() time.Time { return s.run.start.Add(time.Duration(s.run.last.Load())) }

func (s *sending) finished() bool {
	if s.ended.IsZero() {
		return false
	}
	if len(s.underWay) == 0 {
		return true
	}
	if s.plan.Drain > 0 && time.Since(s.ended) > s.plan.Drain {
		s.res.Cut = true
		return true
	}
	last := s.newest()
	for _, t := range []time.Time{s.ended, s.then} {
		if t.After(last) {
			last = t
		}
	}
	// Who was not answered may still be.
	return s.answered() && time.Since(last) > s.plan.Quiet
}

func (s *sending) result() *Result {
	r := &s.res
	r.Sent, r.InTime = s.sent, s.inTime
	for code, n := range r.Codes {
		if code < 300 {
			r.Accepted += n
		}
	}
	for id, f := range s.underWay {
		switch {
		case !f.answered:
			r.Codes[0]++
		case f.code < 300:
			m := s.run.slots[id].Load()
			r.Lost += int64(m.want) - int64(m.count.Load())
		}
	}
	r.Deliveries, r.Duplicates = s.run.deliveries.Load(), s.run.duplicates.Load()
	r.Retransmissions = s.run.retransmissions.Load()
	r.Silent, r.SilentAgain = s.run.silent.Load(), s.run.silentAgain.Load()
	r.Sending, r.Elapsed = s.ended.Sub(s.run.start), time.Duration(s.run.last.Load())
	if !s.then.IsZero() {
		r.AfterThen = s.newest().Sub(s.then)
	}
	return r
}
