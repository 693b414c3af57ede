package convo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"imcd/evapi/evapitest"
)

// collect waits until everything is delivered and compares who got what with
// what the step expects. After a crash in the step, things may be missing.
func (p *play) collect(ctx context.Context, s *Step, callID string, lossy bool) error {
	if err := p.idle(ctx); err != nil {
		return err
	}
	p.await(ctx, s)
	missing := slices.Clone(s.Expect)
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(p.agents)) {
		a := p.agents[key]
		all := a.Received()
		for _, m := range all[a.seen:] {
			errs = append(errs, p.received(s, key, m, callID, &missing))
		}
		a.seen = len(all)
	}
	if lossy {
		p.late = append(p.late, missing...)
		missing = nil
	}
	for _, e := range missing {
		errs = append(errs, fmt.Errorf("  line %d: %s did not receive from %s: %s", e.Line, e.User, e.Room,
			clip(string(e.Body))))
	}
	return errors.Join(errs...)
}

// patience is how long a step waits at a fleet for what must come.
const patience = 5 * time.Second

// await waits at a fleet until everybody has as many messages as the step expects: its metrics, which tell that nothing
// is under way, do not count what is about to be committed. What is still missing then, collect finds.
func (p *play) await(ctx context.Context, s *Step) {
	if len(p.Beside) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	wanted := make(map[string]int)
	for _, e := range s.Expect {
		wanted[strings.ToLower(p.aor(e.User))]++
	}
	for key, n := range wanted {
		if a := p.agents[key]; a != nil {
			_, _ = a.WaitN(ctx, a.seen+n)
		}
	}
}

// received takes one message out of the missing ones.
func (p *play) received(s *Step, key string, m evapitest.Received, callID string, missing *[]Expect) error {
	user := "(somebody of another conversation) " + key
	for _, u := range p.c.Users {
		if strings.EqualFold(u.AOR(), key) {
			user = u.Name
		}
	}
	if p.Watch.Received != nil {
		p.Watch.Received(p.c, s, user, m)
	}
	if (p.crashed || len(p.Beside) > 0) && p.ids[m.CallID] == key {
		// It was delivered before imcd was killed, but not noted yet; or the imcd at the other host has heard a moment
		// later that its user is registered.
		return nil
	}
	if err := p.wellFormed(key, m); err != nil {
		return fmt.Errorf("  %s received from %s: %w", user, m.From, err)
	}
	got := Expect{User: user, Room: m.From, Display: m.FromName, Type: m.ContentType, Body: slices.Clone(m.Body)}
	if take(missing, &got, m, s.Ordered) {
		p.note(got)
		return checkInReplyTo(s, user, m, callID)
	}
	if p.crashed && (take(&p.late, &got, m, false) ||
		slices.ContainsFunc(p.invited, func(e Expect) bool { return e.matches(&got, m) })) {
		return nil
	}
	return fmt.Errorf("  %s received from %s %q (%s): %s", user, m.From, m.FromName, m.ContentType,
		clip(string(m.Body)))
}

// note keeps invitations: until imcd has noted that one has arrived, a crash
// makes it send it again.
func (p *play) note(e Expect) {
	if strings.Contains(string(e.Body), "invites you") {
		p.invited = append(p.invited, e)
	}
}

// take removes the first of list that m is; with ordered only if nothing else of
// that user stands before it.
func take(list *[]Expect, got *Expect, m evapitest.Received, ordered bool) bool {
	i := slices.IndexFunc(*list, func(e Expect) bool { return e.matches(got, m) })
	if i < 0 {
		return false
	}
	if ordered && slices.ContainsFunc((*list)[:i], func(e Expect) bool { return e.User == got.User }) {
		return false
	}
	*list = slices.Delete(slices.Clone(*list), i, i+1)
	return true
}

func (e *Expect) matches(got *Expect, m evapitest.Received) bool {
	want := e.Type
	if want == "" {
		want = "text/plain"
	}
	if e.User != got.User || e.Room != got.Room || !Pattern(e.Display).Match([]byte(got.Display)) || want != got.Type ||
		!e.Body.Match(got.Body) {
		return false
	}
	for _, h := range e.Headers {
		name, value, _ := strings.Cut(h, ":")
		if m.Header(name) != strings.TrimSpace(value) {
			return false
		}
	}
	return true
}

// wellFormed checks the rules for every message that anybody receives.
func (p *play) wellFormed(key string, m evapitest.Received) error {
	switch {
	case m.Method != "MESSAGE":
		return errors.New("a " + m.Method)
	case !strings.EqualFold(m.To, key):
		return errors.New("a message to " + m.To)
	case m.Header("X-IMC-Secret") != "":
		return errors.New("the secret between imcd and Kamailio")
	case p.ids[m.CallID] != "":
		return fmt.Errorf("Call-ID %s, which %s had before", m.CallID, p.ids[m.CallID])
	}
	p.ids[m.CallID] = key
	return nil
}

// checkInReplyTo: an answer to a request names its Call-ID; a copy of a message
// does not.
func checkInReplyTo(s *Step, user string, m evapitest.Received, callID string) error {
	got := m.Header("In-Reply-To")
	if user == s.User && s.Kind == Say && got != callID &&
		!strings.Contains(string(m.Body), "the invitation to room") &&
		!strings.Contains(string(m.Body), "get your invitation") &&
		!strings.Contains(string(m.Body), "is not registered now") {
		return fmt.Errorf("  %s: In-Reply-To is %q, want %q: %s", user, got, callID, clip(string(m.Body)))
	}
	notice := m.Header("Auto-Submitted") != ""
	if user != s.User && got != "" && (got != callID || !notice) {
		return fmt.Errorf("  %s: In-Reply-To is %q: %s", user, got, clip(string(m.Body)))
	}
	return nil
}

// end destroys the rooms that are left, as their owners, and forgets what
// everybody hears of it.
func (p *play) end(ctx context.Context) error {
	var rooms []roomInfo
	if err := p.Stack.Call(ctx, "imc.list_rooms", nil, &rooms); err != nil {
		return err
	}
	for _, a := range p.agents { // waiting copies for them belong to this conversation
		a.AnswerWith(200)
		if err := p.come(ctx, a); err != nil {
			return err
		}
	}
	for _, room := range rooms {
		if err := p.destroy(ctx, room); err != nil {
			return fmt.Errorf("%s: after %q: %w", p.c.File, p.c.Title, err)
		}
	}
	if err := p.idle(ctx); err != nil {
		return err
	}
	for _, a := range p.agents {
		a.seen = len(a.Received())
	}
	return nil
}

// checkEmpty: rooms of somebody else would be in the way, and end would destroy
// them.
func (p *play) checkEmpty(ctx context.Context) error {
	var rooms []roomInfo
	if err := p.Stack.Call(ctx, "imc.list_rooms", nil, &rooms); err != nil {
		return err
	}
	if len(rooms) > 0 {
		return fmt.Errorf("there are rooms in the database already, %s for one; a conversation needs an empty one",
			rooms[0].Room)
	}
	return nil
}

func (p *play) destroy(ctx context.Context, room roomInfo) error {
	start := p.c.Settings["imc_cmd_start_char"]
	if start == "" {
		start = "#"
	}
	for _, a := range p.agents {
		res, err := a.Do(ctx, evapitest.Request{Method: "MESSAGE", URI: room.Room, From: "<" + room.Owner + ">",
			Body: []byte(start + "destroy")})
		if err != nil {
			return err
		}
		if res.StatusCode/100 != 2 {
			return fmt.Errorf("destroy %s as %s: %d %s", room.Room, room.Owner, res.StatusCode, res.Reason)
		}
		return nil
	}
	return errors.New("nobody is there to destroy the rooms")
}

type roomInfo struct {
	Room  string `json:"room"`
	Owner string `json:"owner"`
}

func (p *play) checkRooms(ctx context.Context, s *Step) error {
	var rooms []roomInfo
	if err := p.Stack.Call(ctx, "imc.list_rooms", nil, &rooms); err != nil {
		return err
	}
	var names []string
	for _, r := range rooms {
		names = append(names, r.Room)
	}
	return compare("rooms", names, s.List)
}

func (p *play) checkMembers(ctx context.Context, s *Step) error {
	var list struct{ Members []string }
	err := p.Stack.Call(ctx, "imc.list_members", []string{s.Room}, &list)
	if len(s.List) == 0 {
		if err == nil || !strings.Contains(err.Error(), "no such room") {
			return fmt.Errorf("  %s: want no such room, got %v %v", s.Room, list.Members, err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	return compare("members", list.Members, s.List)
}

func compare(what string, got, want []string) error {
	if slices.Equal(got, want) {
		return nil
	}
	return fmt.Errorf("  %s are %v\n  want      %v", what, got, want)
}

// nameAddr is a user's From header.
func nameAddr(u *User) string {
	if u.Display == "" {
		return "<" + u.AOR() + ">"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(u.Display) + `" <` + u.AOR() + ">"
}

func newCallID() string { return rand.Text() }

// clip shortens a text for an error.
func clip(s string) string {
	if len(s) > 400 {
		return fmt.Sprintf("%.400q… (%d bytes)", s, len(s))
	}
	return fmt.Sprintf("%q", s)
}
