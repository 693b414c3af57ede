package convo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
)

// RCHeader is the header in which a Kamailio with WithRC shows what its routing
// script sees.
const RCHeader = "X-Imc-Rc"

// WithRC makes a Kamailio show the return code of imcd in its replies.
func WithRC(o evapitest.Options, demo string) evapitest.Options {
	o.IMCLocal += "\n#!define IMC_ANSWER_ROUTE SHOW_RC\n"
	o.Config = demo + "\nroute[SHOW_RC] {\n\tappend_to_reply(\"" + RCHeader +
		": $avp(imc_rc)\\r\\n\");\n\troute(IMC_REPLY);\n}\n"
	return o
}

// Crash says when a step is disturbed by a kill -9 of imcd.
type Crash uint8

// When imcd is killed. It is started again before anything else happens.
const (
	NoCrash    Crash = iota
	BeforeSay        // when everything before the step is done
	AfterReply       // as soon as the sender has its reply, whatever is still to be delivered
)

// Watcher is called for each event, as it happens. Its fields may be nil.
type Watcher struct {
	Step     func(c *Conversation, s *Step)
	Reply    func(c *Conversation, s *Step, code int, reason string)
	Received func(c *Conversation, s *Step, user string, m evapitest.Received)
}

// Runner plays conversations, one after the other, on one system.
type Runner struct {
	Stack *stack.Stack
	// Beside are the other imcd of its fleet; nil: none. Users are at the Kamailios of all of them in turn.
	Beside []*stack.Stack
	// Located waits until all Kamailios know that a user is registered, or is not any more; nil: there is one, which
	// knows.
	Located func(ctx context.Context, user string, registered bool) error
	// Silence dates the last messages of all rooms back by that time, in the database, while imcd is away. nil: it cannot.
	Silence func(ctx context.Context, by time.Duration) error
	Watch   Watcher
	// Crash chooses when imcd is killed; nil: never.
	Crash func(c *Conversation, step int) Crash

	agents map[string]*agent // by address; all that ever took part
	ids    map[string]string // Call-IDs seen, with who got them
}

// agent is a user agent and how much of its inbox has been looked at.
type agent struct {
	*evapitest.UA
	seen int
	gone bool // not registered
}

// play is one conversation under way.
type play struct {
	*Runner
	c *Conversation
	// late are the messages that a crash may have delayed or prevented: they may come still.
	late []Expect
	// invited holds invitations seen; they may come again after a crash.
	invited []Expect
	crashed bool
}

// Run plays a conversation. The error tells everything that was not as the text
// says. There must be no rooms, and there are none afterwards.
func (r *Runner) Run(ctx context.Context, c *Conversation) error {
	if r.agents == nil {
		r.agents, r.ids = make(map[string]*agent), make(map[string]string)
	}
	p := &play{Runner: r, c: c}
	if err := p.checkEmpty(ctx); err != nil {
		return err
	}
	err := p.begin(ctx)
	for i := 0; err == nil && i < len(c.Steps); i++ {
		s := &c.Steps[i]
		if r.Watch.Step != nil {
			r.Watch.Step(c, s)
		}
		if err = p.step(ctx, i, s); err != nil {
			err = fmt.Errorf("%s:%d: %s\n%w", c.File, s.Line, clip(s.Text), err)
		}
	}
	return errors.Join(err, p.end(ctx))
}

func (p *play) begin(ctx context.Context) error {
	for i := range p.c.Users {
		u := &p.c.Users[i]
		a, err := p.agent(u)
		if err != nil {
			return err
		}
		a.AnswerWith(200)
		if u.Away {
			err = p.leave(ctx, a)
		} else {
			err = p.come(ctx, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) agent(u *User) (*agent, error) {
	key := strings.ToLower(u.AOR())
	if a := r.agents[key]; a != nil {
		return a, nil
	}
	cfg := evapitest.UAConfig{User: u.Name, Domain: u.Domain, AnswerVia: len(r.Beside) > 0}
	if u.TCP {
		cfg.Transport = "tcp"
	}
	all := r.all()
	ua, err := all[len(r.agents)%len(all)].Agent(cfg)
	if err != nil {
		return nil, err
	}
	a := &agent{UA: ua, gone: true}
	r.agents[key] = a
	return a, nil
}

// all are the imcd that the conversations are played at.
func (r *Runner) all() []*stack.Stack { return append([]*stack.Stack{r.Stack}, r.Beside...) }

// idle waits until all imcd have delivered everything.
func (r *Runner) idle(ctx context.Context) error {
	if len(r.Beside) == 0 {
		return r.Stack.Idle(ctx)
	}
	return stack.IdleTogether(ctx, r.all())
}

func (r *Runner) come(ctx context.Context, a *agent) error {
	a.gone = false
	if err := a.Register(ctx); err != nil {
		return err
	}
	return r.located(ctx, a)
}

// leave removes the registration, and any that an earlier run left.
func (r *Runner) leave(ctx context.Context, a *agent) error {
	a.gone = true
	if err := a.Unregister(ctx); err != nil {
		return err
	}
	return r.located(ctx, a)
}

func (r *Runner) located(ctx context.Context, a *agent) error {
	if r.Located == nil {
		return nil
	}
	user, _, _ := strings.Cut(strings.TrimPrefix(a.AOR(), "sip:"), "@")
	return r.Located(ctx, user, !a.gone)
}

func (p *play) step(ctx context.Context, i int, s *Step) error {
	a := p.agents[strings.ToLower(p.aor(s.User))]
	switch s.Kind {
	case Note:
		return nil
	case Register:
		return p.register(ctx, s, a)
	case Unregister:
		return p.leave(ctx, a)
	case Answer:
		a.AnswerWith(s.Code)
		return nil
	case Rooms:
		return p.checkRooms(ctx, s)
	case Members:
		return p.checkMembers(ctx, s)
	case Restart:
		p.crashed = true
		if err := p.restart(ctx, nil); err != nil {
			return err
		}
		return p.collect(ctx, s, "", false)
	case Silence:
		return p.silence(ctx, s)
	}
	if s.Times == 0 {
		return p.say(ctx, i, s, a)
	}
	for n := 1; n <= s.Times; n++ {
		if err := p.say(ctx, i, s.round(n), a); err != nil {
			return fmt.Errorf("  the %dth time:\n%w", n, err)
		}
	}
	return nil
}

// register registers a user, who may get waiting messages then.
func (p *play) register(ctx context.Context, s *Step, a *agent) error {
	if err := p.come(ctx, a); err != nil || len(s.Expect) == 0 {
		return err
	}
	if _, err := a.WaitN(ctx, a.seen+len(s.Expect)); err != nil {
		return fmt.Errorf("  %s did not receive what waited: %w", s.User, err)
	}
	return p.collect(ctx, s, "", false)
}

// silence lets nothing be said for a time. imcd looks for idle rooms when it starts, and once a minute.
func (p *play) silence(ctx context.Context, s *Step) error {
	if p.Silence == nil {
		return errors.New("  there is no database in which the time can be changed")
	}
	p.crashed = true
	if err := p.restart(ctx, func() error { return p.Silence(ctx, s.Time) }); err != nil {
		return err
	}
	for _, e := range s.Expect {
		a := p.agents[strings.ToLower(p.aor(e.User))]
		if _, err := a.WaitN(ctx, a.seen+1); err != nil {
			return fmt.Errorf("  %s received nothing: %w", e.User, err)
		}
	}
	return p.collect(ctx, s, "", false)
}

// round is the nth repetition of a step.
func (s *Step) round(n int) *Step {
	fill := func(text string) string { return strings.ReplaceAll(text, "{n}", strconv.Itoa(n)) }
	r := *s
	r.Request.Body = []byte(fill(string(s.Request.Body)))
	r.Expect = slices.Clone(s.Expect)
	for i := range r.Expect {
		e := &r.Expect[i]
		e.Body, e.Room = Pattern(fill(string(e.Body))), fill(e.Room)
	}
	return &r
}

func (p *play) aor(user string) string {
	if u := p.c.user(user); u != nil {
		return u.AOR()
	}
	return ""
}

// restart kills and starts imcd; all of a fleet, as any of them may have the rooms. away, which may be nil, is run in
// between.
func (p *play) restart(ctx context.Context, away func() error) error {
	for _, s := range p.all() {
		if err := s.Kill9(); err != nil {
			return err
		}
	}
	if away != nil {
		if err := away(); err != nil {
			return err
		}
	}
	for _, s := range p.all() {
		if err := s.StartImcd(ctx); err != nil {
			return err
		}
	}
	for _, s := range p.Beside { // each gets its part of the rooms
		if err := errors.Join(s.Ready(ctx), p.Stack.Ready(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// say sends a message, compares the reply, and sees who receives what.
func (p *play) say(ctx context.Context, i int, s *Step, a *agent) error {
	crash := NoCrash
	if p.Crash != nil {
		crash = p.Crash(p.c, i)
	}
	if crash == BeforeSay {
		p.crashed = true
		if err := p.restart(ctx, nil); err != nil {
			return err
		}
		if err := p.collect(ctx, &Step{Line: s.Line, Kind: Restart}, "", false); err != nil {
			return err
		}
	}
	req := p.request(s)
	res, err := p.send(ctx, a, s, req)
	if err != nil {
		return err
	}
	if p.Watch.Reply != nil {
		p.Watch.Reply(p.c, s, res.StatusCode, res.Reason)
	}
	if crash == AfterReply {
		p.crashed = true
		if err := p.restart(ctx, nil); err != nil {
			return err
		}
	}
	return errors.Join(p.checkReply(s, res), p.collect(ctx, s, req.CallID, crash == AfterReply))
}

func (p *play) request(s *Step) evapitest.Request {
	req := evapitest.Request{Method: "MESSAGE", URI: s.Room, From: s.Request.From, ContentType: s.Request.Type,
		Headers: s.Request.Headers, Body: s.Request.Body, CallID: cmp.Or(s.Request.CallID, newCallID())}
	if u := p.c.user(s.User); req.From == "" && u != nil {
		req.From = nameAddr(u)
	}
	return req
}

// send sends req; without Content-Type, which a UA would add, if the text says so.
func (p *play) send(ctx context.Context, a *agent, s *Step, req evapitest.Request) (*sip.Response, error) {
	if s.Request.Type != "none" {
		return a.Do(ctx, req)
	}
	id := newCallID()
	_, host, _ := strings.Cut(a.Contact(), "@")
	head := strings.Join([]string{"MESSAGE " + req.URI + " SIP/2.0",
		"Via: SIP/2.0/UDP " + host + ";branch=z9hG4bK" + id + ";rport", "Max-Forwards: 70",
		"From: " + req.From + ";tag=" + id, "To: <" + req.URI + ">", "Call-ID: " + req.CallID, "CSeq: 1 MESSAGE",
		fmt.Sprintf("Content-Length: %d", len(req.Body)), "", ""}, "\r\n")
	return a.Raw(ctx, append([]byte(head), req.Body...))
}

func (p *play) checkReply(s *Step, res *sip.Response) error {
	want := s.Reply
	rc := ""
	if h := res.GetHeader(RCHeader); h != nil {
		rc = h.Value()
	} else if len(p.Beside) > 0 {
		want.RC = "" // the room is at the other Kamailio, whose script alone sees the code
	}
	if res.StatusCode != want.Code || !strings.Contains(res.Reason, want.Reason) || want.RC != "" && want.RC != rc {
		return fmt.Errorf("  reply is %d rc %s %s\n  want     %d rc %s %s", res.StatusCode, rc, res.Reason,
			want.Code, want.RC, want.Reason)
	}
	if res.StatusCode == 503 && res.GetHeader("Retry-After") == nil {
		return errors.New("  503 without Retry-After")
	}
	return nil
}
