package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"imcd/cmd/internal/stack"
	"imcd/evapi"
	"imcd/evapi/evapitest"
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

// heard counts messages by receiver and by the room they came from, both as
// user@host in lower case.
type heard map[[2]string]int

// outcome is what can be seen of a step on one side.
type outcome struct {
	ok     bool     // it was answered 2xx
	code   int      // SIP status, for the eye only
	heard  heard    //
	listed []string // entries of lists that arrived, sorted
}

func (o outcome) String() string {
	var parts []string
	for _, k := range slices.SortedFunc(maps.Keys(o.heard), compareKeys) {
		parts = append(parts, fmt.Sprintf("%s<-%s:%d", k[0], k[1], o.heard[k]))
	}
	return fmt.Sprintf("ok=%v (%d) heard=%v listed=%v", o.ok, o.code, parts, o.listed)
}

func compareKeys(a, b [2]string) int { return strings.Compare(a[0]+" "+a[1], b[0]+" "+b[1]) }

func (o outcome) equal(p outcome) bool {
	return o.ok == p.ok && maps.Equal(o.heard, p.heard) && slices.Equal(o.listed, p.listed)
}

// clone copies o deeply.
func (o outcome) clone() outcome {
	o.heard, o.listed = maps.Clone(o.heard), slices.Clone(o.listed)
	return o
}

// hear adds n messages that a receiver gets from a room; none are left out.
func (o *outcome) hear(receiver, room string, n int) {
	k := [2]string{receiver, room}
	if o.heard[k] += n; o.heard[k] == 0 {
		delete(o.heard, k)
	}
}

// merge adds what a further step showed, the class of its reply left out.
func (o *outcome) merge(p outcome) {
	for k, n := range p.heard {
		o.hear(k[0], k[1], n)
	}
	o.listed = append(o.listed, p.listed...)
	slices.Sort(o.listed)
}

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
	// call calls a method of JSON-RPC.
	call func(ctx context.Context, method string, params []string, result any) error
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
			o.hear(key(r.To), key(r.From), 1)
			o.listed = append(o.listed, entries(r.Text())...)
		}
	}
	slices.Sort(o.listed)
	return o, nil
}

// entry matches one line of a list of rooms or members.
var entry = regexp.MustCompile(`(?m)^[*~]?\[[^\]\n]+\]$`)

func entries(body string) []string {
	found := entry.FindAllString(body, -1)
	for i, e := range found {
		name, _, _ := strings.Cut(strings.ToLower(e), "@")
		found[i] = strings.TrimSuffix(name, "]") + "]"
	}
	return found
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

// key makes user@host in lower case of a URI or a name.
func key(uri string) string {
	uri = strings.ToLower(uri)
	for _, scheme := range []string{"sip:", "sips:"} {
		uri = strings.TrimPrefix(uri, scheme)
	}
	name, host, _ := strings.Cut(uri, "@")
	host, _, _ = strings.Cut(host, ";")
	host, _, _ = strings.Cut(host, ":")
	return name + "@" + host
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
			u.AnswerWith(486)
		}
		if err := register(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// imcdSide makes the side of a running imcd.
func imcdSide(s *stack.Stack) (*side, error) {
	agents := make(map[string]*evapitest.UA)
	for _, name := range users {
		u, err := s.Agent(evapitest.UAConfig{User: name, Domain: home})
		if err != nil {
			return nil, err
		}
		agents[name] = u
	}
	return &side{agents: agents, settle: s.Idle, call: s.Call}, nil
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
func peerSettle(ctx context.Context, call func(context.Context, string, []string, any) error) error {
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
		Error  *evapi.RPCError
	}
	if err := json.Unmarshal(res.Body(), &answer); err != nil {
		return fmt.Errorf("call %s: %d %q: %w", method, res.StatusCode, res.Body(), err)
	}
	if answer.Error != nil {
		return fmt.Errorf("call %s: %w", method, answer.Error)
	}
	return json.Unmarshal(answer.Result, result)
}
