package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/cmd/imcd/internal/probe"
	"imcd/evapi"
)

// Bounds of one check.
const (
	connectWait = 6 * time.Second // for a connection that is being made; more than a hello may take
	legWait     = 3 * time.Second // for the answer to a probe
	lookWait    = time.Second     // for the number of registrations
)

// Why a Kamailio is not connected.
const (
	CauseRefused = "refused" // nobody listens at the address
	CauseSilent  = "silent"  // no welcome: a wrong secret, or an evapi without imc.cfg
	CauseRole    = "role"    // the secret is the operator's
	CauseOther   = "other"
)

// Path is the result of a check of one Kamailio.
type Path struct {
	Kamailio  string `json:"kamailio"` // its name
	Connected bool   `json:"connected"`
	Cause     string `json:"cause,omitempty"` // why not
	Error     string `json:"error,omitempty"` // the same in the words of the connection
	OwnHop    string `json:"own_hop"`         // Kamailio's own SIP URI, as it says
	NextHop   string `json:"next_hop"`        // where copies are sent
	Room      string `json:"room"`            // the URI that was written to
	Out       Leg    `json:"out"`             // imcd, Kamailio, a member
	In        Leg    `json:"in"`              // a user, Kamailio, imcd

	// Dialog is a request within a dialog, which only clients with group chats send to a room. It is tried if rooms are
	// group chats (IMC_NATIVE), and must be refused by imcd, or for want of a password.
	Dialog Leg `json:"dialog"`
	// Registrations are Kamailio's numbers of those; nil: it sends none.
	Registrations *Registrations `json:"registrations,omitempty"`
	// NoVia: responses to copies came without the Via by which they find their way.
	NoVia bool `json:"no_via,omitempty"`
	// Topos is how Kamailio stands to its module of that name.
	Topos evapi.Topos `json:"topos,omitempty"`
}

// Registrations are those at one Kamailio, since its start.
type Registrations struct {
	Accepted int64 `json:"accepted"` // -1: it has no registrar
	Reported bool  `json:"reported"` // it has reported one to imcd, or would have
}

// Leg is one way through a Kamailio.
type Leg struct {
	Tried   bool   `json:"tried"`
	Arrived bool   `json:"arrived"`          // at its end
	Code    int    `json:"code"`             // final SIP response; 0: none
	Reason  string `json:"reason,omitempty"` // its phrase, or why there is none
	Local   bool   `json:"local,omitempty"`  // Kamailio took the copy back without sending it
}

// probes are the checks under way, by Call-ID.
type probes struct {
	active atomic.Int32 // so that a message costs nothing when there are none

	mu       sync.Mutex
	messages map[string]chan struct{}     // guarded by mu
	results  map[string]chan evapi.Result // guarded by mu
}

// message takes a request that belongs to a check.
func (p *probes) message(m *evapi.Message) bool {
	if p.active.Load() == 0 || m.Request == nil || m.Request.CallID() == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ch, ok := p.messages[m.Request.CallID().Value()]
	if ok {
		select {
		case ch <- struct{}{}:
		default: // sent again
		}
	}
	return ok
}

// result takes the outcome of a copy that belongs to a check.
func (p *probes) result(r evapi.Result) bool {
	if p.active.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ch, ok := p.results[r.CallID]
	if ok {
		select {
		case ch <- r:
		default: // reported again
		}
	}
	return ok
}

// begin names a probe; end forgets it.
func (p *probes) begin() (callID string, message chan struct{}, result chan evapi.Result, end func()) {
	callID = "imcd-check-" + rand.Text()
	message, result = make(chan struct{}, 1), make(chan evapi.Result, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.messages == nil {
		p.messages, p.results = map[string]chan struct{}{}, map[string]chan evapi.Result{}
	}
	p.messages[callID], p.results[callID] = message, result
	p.active.Add(1)
	return callID, message, result, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.messages, callID)
		delete(p.results, callID)
		p.active.Add(-1)
	}
}

// Check tries the ways through every Kamailio: a copy out, to a port of its own,
// and a request in, to a room, which is answered here and reaches nobody. room is
// a SIP URI that Kamailio takes for a room's; empty: a name at Kamailio's own
// address.
func (g *Group) Check(ctx context.Context, room string) []Path {
	paths := make([]Path, len(g.conns))
	var all sync.WaitGroup
	for i, c := range g.conns {
		all.Go(func() { paths[i] = g.check(ctx, c, room) })
	}
	all.Wait()
	return paths
}

func (g *Group) check(ctx context.Context, c *evapi.Conn, room string) Path {
	state := settled(ctx, c)
	p := Path{Kamailio: c.Name(), Connected: state.Up, OwnHop: state.OwnHop, NextHop: state.NextHop, Room: room,
		Topos: state.Topos}
	if !state.Up {
		p.Cause, p.Error = cause(state.Err)
		return p
	}
	addr, err := udpAddr(state.OwnHop)
	if p.Room == "" {
		p.Room = "sip:chat-imcd-check@" + addr
	}
	if err != nil {
		p.Out.Reason, p.In.Reason = err.Error(), err.Error()
		return p
	}
	socket, err := probe.Open(ctx, addr)
	if err != nil {
		p.Out.Reason, p.In.Reason = err.Error(), err.Error()
		return p
	}
	defer socket.Close()
	p.Out = g.tryOut(ctx, c, socket, p.Room)
	p.In = g.tryIn(ctx, socket, p.Room)
	if state.Native {
		p.Dialog = tryDialog(ctx, socket, p.Room)
	}
	p.Registrations = look(ctx, c)
	p.NoVia = c.Stats().SIPNoVia > 0
	return p
}

// look asks a Kamailio for its registrations.
func look(ctx context.Context, c *evapi.Conn) *Registrations {
	if c.Look() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	ticker := time.NewTicker(flushPoll)
	defer ticker.Stop()
	for {
		if r := c.State().Registrations; r != nil {
			return &Registrations{Accepted: r.Accepted, Reported: r.Reported}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// settled waits until c is connected or has failed to, for a reason that tells
// something: that the last connection ended does not say why there is no new one.
func settled(ctx context.Context, c *evapi.Conn) evapi.State {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	ticker := time.NewTicker(flushPoll)
	defer ticker.Stop()
	for {
		s := c.State()
		if why, _ := cause(s.Err); s.Up || why != CauseOther {
			return s
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return s
		}
	}
}

func cause(err error) (string, string) {
	switch {
	case err == nil:
		return CauseOther, "no attempt has been made yet"
	case errors.Is(err, syscall.ECONNREFUSED):
		return CauseRefused, err.Error()
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		return CauseSilent, err.Error()
	case strings.Contains(err.Error(), "the secret is that of role"):
		return CauseRole, err.Error()
	}
	return CauseOther, err.Error()
}

// udpAddr is the host:port of a SIP URI, to be reached by UDP.
func udpAddr(uri string) (string, error) {
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil || u.Host == "" {
		return "", fmt.Errorf("%q, which Kamailio gives as its own address, is no SIP URI", uri)
	}
	if transport, ok := u.UriParams.Get("transport"); (ok && !strings.EqualFold(transport, "udp")) || u.IsEncrypted() {
		return "", fmt.Errorf("%s, Kamailio's own address, is not UDP, which is all that a check speaks", uri)
	}
	port := u.Port
	if port == 0 {
		port = 5060
	}
	return net.JoinHostPort(strings.Trim(u.Host, "[]"), fmt.Sprint(port)), nil
}

func (g *Group) tryOut(ctx context.Context, c *evapi.Conn, socket *probe.Socket, room string) Leg {
	ctx, cancel := context.WithTimeout(ctx, legWait)
	defer cancel()
	callID, _, result, end := g.probes.begin()
	defer end()
	out, err := evapi.NewOutgoing(evapi.Content{From: "<" + room + ">", ContentType: "text/plain",
		Body: []byte("imcd check")})
	if err != nil {
		return Leg{Reason: err.Error()}
	}
	leg := Leg{Tried: true}
	arrived := socket.Expect(callID)
	if err := c.Send(evapi.Copy{Out: out, To: socket.Contact("imcd-check"), CallID: callID, First: true}); err != nil {
		leg.Reason = err.Error()
		return leg
	}
	select {
	case r := <-result:
		leg.Code, leg.Reason, leg.Local = r.Code, r.Reason, r.Local
	case <-ctx.Done():
		leg.Reason = "no outcome"
	}
	select {
	case <-arrived:
		leg.Arrived = true
	default:
	}
	return leg
}

// tryDialog asks for a change of a room that names no change.
func tryDialog(ctx context.Context, socket *probe.Socket, room string) Leg {
	ctx, cancel := context.WithTimeout(ctx, legWait)
	defer cancel()
	leg := Leg{Tried: true}
	var err error
	if leg.Code, leg.Reason, err = socket.AskWithin(ctx, "REFER", room, "imcd-check-"+rand.Text()); err != nil {
		leg.Reason = err.Error()
	}
	return leg
}

func (g *Group) tryIn(ctx context.Context, socket *probe.Socket, room string) Leg {
	ctx, cancel := context.WithTimeout(ctx, legWait)
	defer cancel()
	callID, message, _, end := g.probes.begin()
	defer end()
	leg := Leg{Tried: true}
	var err error
	if leg.Code, leg.Reason, err = socket.Ask(ctx, "MESSAGE", room, callID); err != nil {
		leg.Reason = err.Error()
	}
	select {
	case <-message:
		leg.Arrived = true
	default:
	}
	return leg
}
