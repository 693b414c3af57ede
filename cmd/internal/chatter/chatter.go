// Package chatter has phones that talk in rooms all the time, whatever happens to the system, and write
// down what they see for package judge. Nothing in it needs the testing package.
package chatter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/cmd/internal/judge"
	"imcd/evapi/evapitest"
)

const (
	// tryTimeout is how long a phone waits for the answer to one try. It is longer than Kamailio waits for imcd.
	tryTimeout = 7 * time.Second
	// tryPause is the time between two tries. Retry-After is not heeded: it would hide when the system is back.
	tryPause = 200 * time.Millisecond
	// openMax bounds the messages that wait for a 2xx; above it nothing more is said.
	openMax = 4096
	// inboxClear is how often a phone forgets the requests that it has written down.
	inboxClear = 512
	// calm is for how long nothing must have arrived for a talk to be over.
	calm = 300 * time.Millisecond
)

// Room is a room with all its members, which are there already.
type Room struct {
	URI     string   // SIP URI
	Members []string // user parts, two at least
}

// Options of a Crowd.
type Options struct {
	Domain  string   // of all users
	Proxies []string // SIP addresses of Kamailios; phones are at them in turn
	Rooms   []Room
	Rate    int // messages a second, of all rooms in turn
	// Patience is how long a message is repeated, with one Call-ID and CSeq, until it is answered 2xx; 0: a minute.
	Patience time.Duration
}

// Crowd is a number of phones that talk.
type Crowd struct {
	opts   Options
	phones map[string]*evapitest.UA // by user part
	log    *judge.Log

	latest  atomic.Int64 // when the last copy arrived, Unix ns
	dropped atomic.Int64 // messages that were not said because openMax were waiting
	stall   atomic.Int64 // the longest time that this process, and so maybe others, did not get on, ns

	ctx  context.Context    // done at Close
	end  context.CancelFunc // ends ctx
	stop context.CancelFunc // ends run
	all  sync.WaitGroup     // run, and messages that wait for a 2xx

	from, to time.Time // of the last talk
}

// New registers a phone for each member. The caller must call Close.
func New(ctx context.Context, opts Options) (*Crowd, error) {
	if opts.Patience == 0 {
		opts.Patience = time.Minute
	}
	c := &Crowd{opts: opts, phones: make(map[string]*evapitest.UA), log: judge.NewLog()}
	c.ctx, c.end = context.WithCancel(context.Background())
	c.stop = c.end
	for _, r := range opts.Rooms {
		for _, user := range r.Members {
			if c.phones[user] != nil {
				continue
			}
			if err := c.open(ctx, user); err != nil {
				return nil, errors.Join(err, c.Close())
			}
		}
	}
	return c, nil
}

// open makes a user's phone.
func (c *Crowd) open(ctx context.Context, user string) error {
	proxy := c.opts.Proxies[len(c.phones)%len(c.opts.Proxies)]
	u, err := evapitest.NewUA(evapitest.UAConfig{User: user, Domain: c.opts.Domain, Proxy: proxy, AnswerVia: true})
	if err != nil {
		return err
	}
	c.phones[user] = u
	var taken int // by the phone's reader
	u.SetAnswer(func(req *sip.Request) evapitest.Reply {
		c.take(user, req)
		if taken++; taken%inboxClear == 0 {
			u.Clear()
		}
		return evapitest.Reply{Code: 200}
	})
	return u.Register(ctx)
}

// take writes a copy down.
func (c *Crowd) take(member string, req *sip.Request) {
	// "[alice]: text" is how imcd shows a message.
	body := string(req.Body())
	if _, text, ok := strings.Cut(body, "]: "); ok {
		body = text
	}
	c.latest.Store(time.Now().UnixNano())
	c.log.Arrived(judge.Copy{Room: req.From().Address.Addr(), Member: member, Body: body, CallID: req.CallID().Value()})
}

// Register lets all phones register again, as they do after their Kamailio was away.
func (c *Crowd) Register(ctx context.Context) error {
	for _, u := range c.phones {
		if err := u.Register(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Enter makes the rooms by commands: the first member of each makes it, the others join.
func (c *Crowd) Enter(ctx context.Context) error {
	for _, r := range c.opts.Rooms {
		for i, user := range r.Members {
			command := "#join"
			if i == 0 {
				command = "#create"
			}
			res, err := c.phones[user].Say(ctx, r.URI, command)
			if err != nil {
				return fmt.Errorf("%s says %s to %s: %w", user, command, r.URI, err)
			}
			if res.StatusCode/100 != 2 {
				return fmt.Errorf("%s says %s to %s: %d %s", user, command, r.URI, res.StatusCode, res.Reason)
			}
		}
	}
	return nil
}

// Log is what the phones write down.
func (c *Crowd) Log() *judge.Log { return c.log }

// Members are the members of each room, for the judge.
func (c *Crowd) Members() map[string][]string {
	members := make(map[string][]string)
	for _, r := range c.opts.Rooms {
		members[r.URI] = r.Members
	}
	return members
}

// Talk lets the phones talk until Hush.
func (c *Crowd) Talk() {
	var ctx context.Context
	ctx, c.stop = context.WithCancel(c.ctx)
	c.from = time.Now()
	c.all.Go(func() { c.run(ctx) })
}

// run says a message of each room in turn, by its members in turn, at the rate.
func (c *Crowd) run(ctx context.Context) {
	open := make(chan struct{}, openMax)
	period := time.Second / time.Duration(c.opts.Rate)
	tick := time.NewTicker(period)
	defer tick.Stop()
	last := time.Now()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		c.stall.Store(max(c.stall.Load(), int64(now.Sub(last)-period)))
		last = now
		room := c.opts.Rooms[n%len(c.opts.Rooms)]
		sender := room.Members[n/len(c.opts.Rooms)%len(room.Members)]
		select {
		case open <- struct{}{}:
		default:
			c.dropped.Add(1)
			continue
		}
		c.all.Go(func() {
			c.say(room.URI, sender, fmt.Sprintf("%s says %d.%d", sender, c.from.UnixMilli(), n))
			<-open
		})
	}
}

// say sends a message, again and again if need be, after the end of the talk as well.
func (c *Crowd) say(room, sender, body string) {
	ctx, cancel := context.WithTimeout(c.ctx, c.opts.Patience)
	defer cancel()
	r := evapitest.Request{Method: "MESSAGE", URI: room, CallID: strings.ReplaceAll(body, " ", "-"), CSeq: 1,
		Body: []byte(body)}
	c.log.Begin(room, sender, body, time.Now())
	for ctx.Err() == nil {
		code := c.try(ctx, c.phones[sender], r)
		c.log.Answered(body, code, time.Now())
		if code >= 200 && code < 300 {
			return
		}
		select {
		case <-time.After(tryPause):
		case <-ctx.Done():
		}
	}
}

// try sends a request once, and returns its final status; 0: there was none in time.
func (c *Crowd) try(ctx context.Context, u *evapitest.UA, r evapitest.Request) int {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	res, err := u.Do(ctx, r)
	if err != nil {
		return 0
	}
	return res.StatusCode
}

// Hush ends the talk, and returns when every message is answered 2xx or given up.
func (c *Crowd) Hush() {
	c.to = time.Now()
	c.stop()
	c.all.Wait()
}

// Silences are those of the last talk, the longest first.
func (c *Crowd) Silences() []judge.Silence { return c.log.Silences(c.from, c.to) }

// Settle waits until every message answered 2xx has reached all members, and a moment longer for what
// should not come. The error names what is missing.
func (c *Crowd) Settle(ctx context.Context) error {
	sizes := make(map[string]int)
	for _, r := range c.opts.Rooms {
		sizes[r.URI] = len(r.Members)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		n, example := c.log.Missing(sizes)
		if n == 0 && time.Since(time.Unix(0, c.latest.Load())) > calm {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d copies have not arrived, like one of %s: %w", n, example, ctx.Err())
		}
	}
}

// Stall is the longest time by which the crowd was late to say something, because the machine was busy. A
// test that wants something within a time allows for it.
func (c *Crowd) Stall() time.Duration { return time.Duration(c.stall.Load()) }

// Dropped is how many messages were not said, because too many were waiting.
func (c *Crowd) Dropped() int { return int(c.dropped.Load()) }

// Close ends a talk at once, and closes all phones.
func (c *Crowd) Close() error {
	c.end()
	c.all.Wait()
	var errs []error
	for _, u := range c.phones {
		errs = append(errs, u.Close())
	}
	return errors.Join(errs...)
}
