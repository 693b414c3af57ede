package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/jsonrpc"
)

// users are the people of the conversations, with their user agents at both
// systems. grace declines every MESSAGE, gone is not registered and has none.
var users = []string{"alice", "bob", "carol", "dave", "erin", "frank", declines}

const (
	declines = "grace"
	gone     = "gone"
	home     = "one.example" // the domain of all users
	away     = "two.example" // another one that has a room
)

// listing is what RPC tells of one room.
type listing struct {
	owner   string
	members []string // sorted
	count   int
}

func (l listing) equal(m listing) bool {
	return l.owner == m.owner && l.count == m.count && slices.Equal(l.members, m.members)
}

// side is one of the two systems.
type side struct {
	agents map[string]*evapitest.UA // by user
	// settle waits until everything that a step causes has arrived.
	settle func(ctx context.Context) error
	call   caller
}

// do takes one step and returns what came of it.
func (s *side) do(ctx context.Context, st step) (outcome, error) {
	for _, u := range s.agents {
		u.Clear()
	}
	res, err := s.agents[st.sender].Do(ctx, evapitest.Request{
		Method: "MESSAGE", URI: st.uri, From: st.from, ContentType: st.contentType, Body: []byte(st.body)})
	if err != nil {
		return outcome{}, err
	}
	if res.StatusCode == 408 || res.StatusCode >= 500 {
		return outcome{}, fmt.Errorf("answered %d %s", res.StatusCode, res.Reason)
	}
	if err := s.settle(ctx); err != nil {
		return outcome{}, err
	}
	o := outcome{ok: res.StatusCode < 300, code: res.StatusCode, heard: heard{}}
	for _, u := range s.agents {
		for _, r := range u.Received() {
			if strings.Contains(r.Text(), "could not be shown") {
				continue // once for what a phone has declined, until it takes something: the module says nothing
			}
			o.hear(key(r.To), key(r.From), 1)
			o.listed = append(o.listed, entries(r.Text())...)
		}
	}
	slices.Sort(o.listed)
	return o, nil
}

// listings asks for all rooms and their members.
func (s *side) listings(ctx context.Context) (map[string]listing, error) {
	var rooms []struct {
		Room    string `json:"room"`
		Members int    `json:"members"`
		Owner   string `json:"owner"`
	}
	if err := s.call(ctx, "imc.list_rooms", nil, &rooms); err != nil {
		return nil, err
	}
	all := make(map[string]listing, len(rooms))
	for _, r := range rooms {
		var list struct {
			Room    string   `json:"room"`
			Members []string `json:"members"`
			Count   int      `json:"count"`
		}
		if err := s.call(ctx, "imc.list_members", []string{r.Room}, &list); err != nil {
			return nil, err
		}
		if list.Count != r.Members || list.Room != r.Room {
			return nil, fmt.Errorf("the lists contradict each other: %+v, %+v", r, list)
		}
		l := listing{owner: key(r.Owner), count: r.Members}
		for _, m := range list.Members {
			l.members = append(l.members, key(m))
		}
		slices.Sort(l.members)
		all[key(r.Room)] = l
	}
	return all, nil
}

// register registers a user agent under both spellings of its name that the
// conversations use: Kamailio's usrloc tells them apart.
func register(ctx context.Context, u *evapitest.UA) error {
	if err := u.Register(ctx); err != nil {
		return err
	}
	name, domain, _ := strings.Cut(strings.TrimPrefix(u.AOR(), "sip:"), "@")
	res, err := u.Do(ctx, evapitest.Request{Method: "REGISTER", URI: "sip:" + domain,
		From: "<sip:" + strings.ToUpper(name) + "@" + domain + ">", To: "sip:" + strings.ToUpper(name) + "@" + domain,
		Headers: []string{"Contact: <" + u.Contact() + ">", "Expires: 3600"}})
	if err != nil {
		return err
	}
	if res.StatusCode != 200 {
		return fmt.Errorf("register %s: %d %s", strings.ToUpper(name), res.StatusCode, res.Reason)
	}
	return nil
}

// prepare registers a side's user agents.
func (s *side) prepare(ctx context.Context) error {
	for name, u := range s.agents {
		if name == declines {
			u.AnswerWith(488)
		}
		if err := register(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// imcdSide makes the side of running imcd, one of which answers call. Users are at their Kamailios in turn.
func imcdSide(stacks []*stack.Stack, call caller) (*side, error) {
	agents := make(map[string]*evapitest.UA)
	for i, name := range users {
		u, err := stacks[i%len(stacks)].Agent(evapitest.UAConfig{User: name, Domain: home, AnswerVia: len(stacks) > 1})
		if err != nil {
			return nil, err
		}
		agents[name] = u
	}
	settle := func(ctx context.Context) error { return imcdSettle(ctx, call) }
	if len(stacks) > 1 {
		settle = func(ctx context.Context) error { return stack.IdleTogether(ctx, stacks) }
	}
	return &side{agents: agents, call: call, settle: settle}, nil
}

// caller calls a method of JSON-RPC.
type caller = func(ctx context.Context, method string, params []string, result any) error

// imcdSettle waits until imcd has delivered everything. That is so when two looks
// in a row find nothing under way: an outcome can lead to a notice. It is
// stack.Idle over one connection.
func imcdSettle(ctx context.Context, call caller) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for seen := 0; seen < 2; {
		var st stack.Stats
		if err := call(ctx, "imc.stats", nil, &st); err != nil {
			return fmt.Errorf("wait until imcd is idle: %w", err)
		}
		if st.Outstanding == 0 && st.BacklogBytes == 0 {
			seen++
			continue
		}
		seen = 0
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("imcd is not idle, %d copies and %d bytes are under way: %w",
				st.Outstanding, st.BacklogBytes, ctx.Err())
		}
	}
	return nil
}

// peerSide makes the side of a running Kamailio with peer.cfg. Its caller closes
// the user agents.
func peerSide(k *evapitest.Kamailio) (*side, error) {
	agents := make(map[string]*evapitest.UA)
	var errs []error
	for _, name := range append(slices.Clone(users), "operator") {
		u, err := evapitest.NewUA(evapitest.UAConfig{User: name, Domain: home, Proxy: k.SIPAddr()})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		agents[name] = u
	}
	s := &side{agents: agents}
	s.call = func(ctx context.Context, method string, params []string, result any) error {
		return peerCall(ctx, agents["operator"], method, params, result)
	}
	s.settle = func(ctx context.Context) error { return peerSettle(ctx, s.call) }
	return s, errors.Join(errs...)
}

// peerSettle waits until no transaction of the module's Kamailio is under way:
// what the module sends exists as a transaction before its sender is answered,
// and ends only when the receiver has answered it. One worker does everything,
// the question included, so that the answer is never of a moment in between.
func peerSettle(ctx context.Context, call caller) error {
	for {
		var st struct{ Current, Waiting int }
		if err := call(ctx, "tm.stats", nil, &st); err != nil {
			return fmt.Errorf("wait until the module is idle: %w", err)
		}
		if st.Current == st.Waiting {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("the module is not idle, %d transactions are under way: %w", st.Current-st.Waiting, err)
		}
	}
}

func peerCall(ctx context.Context, u *evapitest.UA, method string, params []string, result any) error {
	if params == nil {
		params = []string{}
	}
	req, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "method": method, "params": params, "id": 1})
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	res, err := u.Message(ctx, "sip:rpc@"+home, "application/json", req)
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	var answer struct {
		Result json.RawMessage
		Error  *jsonrpc.Error
	}
	if err := json.Unmarshal(res.Body(), &answer); err != nil {
		return fmt.Errorf("call %s: %d %q: %w", method, res.StatusCode, res.Body(), err)
	}
	if answer.Error != nil {
		return fmt.Errorf("call %s: %w", method, answer.Error)
	}
	return json.Unmarshal(answer.Result, result)
}
