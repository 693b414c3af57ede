package check

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"

	"imcd/cmd/imcd/internal/probe"
	"imcd/cmd/imcd/internal/relay"
	"imcd/evapi"
)

// kamailio prints the meaning of a Path.
func (r *run) kamailio(ctx context.Context, p relay.Path) {
	name := "kamailio " + p.Kamailio
	if !p.Connected {
		text, remedy := r.unconnected(ctx, p)
		r.say(name, Fail, text, remedy)
		return
	}
	r.say(name, OK, "connected, the hello was accepted", "")
	r.leg("way out "+p.Kamailio, p, p.Out, outVerdicts())
	r.leg("way in "+p.Kamailio, p, p.In, inVerdicts())
	r.topos("topos "+p.Kamailio, p)
	r.groups("group chats "+p.Kamailio, p)
	if p.NoVia {
		r.say("responses "+p.Kamailio, Fail, "phones' responses come back without a Via, "+
			"as Kamailio's topos module of 5.6 does with MESSAGE: nothing can be matched",
			toposRemedy)
	}
	r.registrations("registrations "+p.Kamailio, p.Registrations)
}

// toposRemedy keeps MESSAGE from topos.
const toposRemedy = "Take imc.cfg as it comes with this imcd, without IMC_OWN_TOPOS, or begin your own " +
	"event_route[topos:msg-sending] and event_route[topos:msg-receiving] with route(IMC_TOPOS); " +
	"and leave event_mode of topos as it is."

// topos says whether Kamailio's module of that name gets in the way.
func (r *run) topos(check string, p relay.Path) {
	const harm = "it takes the Via out of responses to MESSAGE, so that copies are sent again and again"
	switch {
	case p.Topos == evapi.ToposNone:
	case silent(p, p.Out) && p.Out.Tried:
		r.say(check, Fail, "topos is loaded in Kamailio and gets MESSAGE: "+harm, toposRemedy)
	case p.Topos == evapi.ToposOwn:
		r.say(check, Warn, "topos is loaded in Kamailio, and imc.cfg leaves MESSAGE to it (IMC_OWN_TOPOS): "+harm,
			toposRemedy)
	default:
		r.say(check, OK, "topos is loaded in Kamailio, and imc.cfg keeps MESSAGE outside of dialogs from it", "")
	}
}

// groups says whether requests of clients with group chats reach imcd; nothing if rooms are none.
func (r *run) groups(check string, p relay.Path) {
	if !p.Dialog.Tried {
		return
	}
	r.leg(check, p, p.Dialog, dialogVerdicts())
	if p.Topos != evapi.ToposNone {
		r.say(check, Warn, "topos is loaded in Kamailio, and changes the addresses by which Linphone knows devices and "+
			"groups: its group chats do not work", "Take topos or IMC_NATIVE out.")
	}
}

// dialogVerdicts are about a request within a dialog, from another domain, that a stranger sent to a room.
func dialogVerdicts() []verdict {
	return []verdict{
		{code(400, 401, 403, 407), OK, "requests within dialogs come to route(IMC_DIALOG): Linphone's group chats can be " +
			"changed and left", ""},
		{code(503), Fail, "Kamailio has no imcd for a request within a dialog (503 {reason})",
			"Look at imcd's log: does the connection come and go?"},
		{anything, Fail, "a request within a dialog does not come to route(IMC_DIALOG) ({code} {reason}): nobody can " +
			"change or leave a group in Linphone", "Put route(IMC_DIALOG); ahead of route(WITHINDLG); in request_route: see " +
			"\"Group chats in Linphone\" in the README of kamailio-cfg."},
	}
}

// registrations prints whether imcd hears of registrations.
func (r *run) registrations(check string, n *relay.Registrations) {
	switch {
	case n == nil:
		r.say(check, Warn, "Kamailio does not say whether it tells imcd of registrations",
			"Is its imc.cfg of the same version as imcd?")
	case n.Reported:
		r.say(check, OK, "imcd hears of registrations: who comes back gets what it missed at once", "")
	case n.Accepted > 0:
		r.say(check, Warn, fmt.Sprintf("%d registrations, and imcd heard of none: route(IMC_REGISTERED) is missing. "+
			"Who comes back gets what it missed only with the next message in the room, its own next message, or "+
			"offline_retry; a copy under way to a connection that is gone holds it up for 10 s", n.Accepted),
			"Put route(IMC_REGISTERED); behind save() in kamailio.cfg and restart Kamailio: see its README.")
	case n.Accepted == 0:
		r.say(check, OK, "nobody has registered since Kamailio's start, so it stays open whether imcd would hear of it", "")
	default:
		r.say(check, OK, "this Kamailio has no registrar; the one that has should run route(IMC_REGISTERED)", "")
	}
}

// unconnected explains why there is no connection.
func (r *run) unconnected(ctx context.Context, p relay.Path) (text, remedy string) {
	switch p.Cause {
	case relay.CauseSilent:
		return "it takes the connection and does not answer the hello: evapi_secret is wrong",
			`Put the same word into evapi_secret (imcd) and IMC_SECRET (imc-local.cfg), and restart Kamailio. ` +
				`Its log says "imc: refused frame". If it says nothing, another configuration than imc.cfg has this evapi port.`
	case relay.CauseRole:
		return "evapi_secret is IMC_OPERATOR_SECRET, which is that of imcctl",
			"Put IMC_SECRET of imc-local.cfg into evapi_secret."
	case relay.CauseOther:
		return "not connected: " + p.Error, "Look at the address in evapi, at firewalls, and at Kamailio's log."
	}
	addr := r.sipAddr(p.Kamailio)
	if err := options(ctx, addr); err != nil {
		return "it is not running: nobody listens on its evapi port, and SIP to " + addr + " is not answered",
			"Start Kamailio, and look at its log if it does not stay. If it speaks SIP elsewhere, give --sip HOST:PORT."
	}
	return "it runs (SIP at " + addr + " is answered), but nobody listens on the evapi port: imc.cfg is not included",
		`Add include_file "imc.cfg" to kamailio.cfg and restart Kamailio. ` +
			`If it is there, compare IMC_EVAPI_BIND with evapi in imcd.yaml.`
}

// sipAddr is where a Kamailio should answer SIP.
func (r *run) sipAddr(evapiAddr string) string {
	if r.SIP != "" {
		return r.SIP
	}
	host, _, err := net.SplitHostPort(evapiAddr)
	if err != nil {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, "5060")
}

// options reports whether somebody answers SIP at addr, with any response.
func options(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, optionsWait)
	defer cancel()
	socket, err := probe.Open(ctx, addr)
	if err != nil {
		return err
	}
	defer socket.Close()
	_, _, err = socket.Ask(ctx, "OPTIONS", "sip:"+addr, "imcd-check-"+rand.Text())
	return err
}

// verdict is the meaning of an outcome. The first that fits counts.
type verdict struct {
	fits   func(p relay.Path, l relay.Leg) bool
	status Status
	text   string // of the Path and the Leg, see leg
	remedy string
}

// leg prints the verdict on one way. In texts {code} and {reason} are the response's,
// {hop} is where copies are sent, {own} Kamailio's own address, {room} what was
// written to.
func (r *run) leg(check string, p relay.Path, l relay.Leg, table []verdict) {
	fill := func(s string) string {
		return strings.NewReplacer("{code}", fmt.Sprint(l.Code), "{reason}", l.Reason, "{hop}", p.NextHop, "{own}", p.OwnHop,
			"{room}", p.Room).Replace(s)
	}
	for _, v := range table {
		if v.fits(p, l) {
			r.say(check, v.status, fill(v.text), fill(v.remedy))
			return
		}
	}
}

func code(list ...int) func(relay.Path, relay.Leg) bool {
	return func(_ relay.Path, l relay.Leg) bool {
		for _, c := range list {
			if !l.Local && l.Code == c {
				return true
			}
		}
		return false
	}
}

func arrived(_ relay.Path, l relay.Leg) bool { return l.Arrived }
func untried(_ relay.Path, l relay.Leg) bool { return !l.Tried }
func silent(_ relay.Path, l relay.Leg) bool  { return l.Code == 0 }
func local(_ relay.Path, l relay.Leg) bool   { return l.Local }
func anything(relay.Path, relay.Leg) bool    { return true }

// elsewhere reports whether copies go to another host than the Kamailio, and this
// one took the copy.
func elsewhere(p relay.Path, l relay.Leg) bool {
	return !strings.EqualFold(p.NextHop, p.OwnHop) && passed(p, l)
}

// passed reports whether the server that answered has looked for the user.
func passed(p relay.Path, l relay.Leg) bool { return code(200, 202, 404, 410, 480, 604)(p, l) }

// outVerdicts are about a copy that imcd sent.
func outVerdicts() []verdict {
	const hop = "Look at outbound_proxy in imcd.yaml and IMC_NEXT_HOP in imc-local.cfg; without both, Kamailio's own " +
		"address is taken. If they name another SIP server, it must be up."
	return []verdict{
		{untried, Warn, "not tried: {reason}", ""},
		{arrived, OK, "a copy went through Kamailio ({hop}) and out again", ""},
		{elsewhere, Warn, "a copy was answered {code} by {hop}, which is not this Kamailio ({own})",
			"If members are registered there, all is well. If not, take outbound_proxy or IMC_NEXT_HOP out."},
		{passed, OK, "a copy passed Kamailio's routing ({hop}), which looked for the user ({code})", ""},
		{code(401, 407), Fail, "Kamailio asks for a password for what imcd sends ({code}): no member would get anything",
			"In request_route, route(IMC) must stand in the place of route(AUTH), before anything else that authenticates. " +
				"If copies go through another host, that one must trust imcd's host."},
		{code(403), Fail, "Kamailio refuses what imcd sends (403 {reason})",
			"In request_route, route(IMC) must stand before what refuses it; copies must come from this Kamailio's own host."},
		{code(483, 482), Fail, "copies go in circles ({code})", hop},
		{local, Fail, "Kamailio cannot send a copy: {reason}; next hop {hop}", hop},
		{silent, Fail, "no outcome of a copy: the next hop {hop} does not answer", hop},
		{code(408, 477, 478, 500, 503, 504), Fail, "the next hop {hop} cannot be reached ({code} {reason})", hop},
		{anything, Fail, "a copy was answered {code} {reason} by {hop}",
			"Find out in Kamailio's log which line of the routing answered so; copies must reach the lookup of the user."},
	}
}

// inVerdicts are about a request that a stranger sent to a room.
func inVerdicts() []verdict {
	return []verdict{
		{untried, Warn, "not tried: {reason}", ""},
		{arrived, OK, "a request to {room} reached imcd and was answered", ""},
		{silent, Fail, "SIP to {own} is not answered", "Kamailio is overloaded, or does not listen there for UDP."},
		{code(401, 407), Warn, "Kamailio asks strangers for a password before {room} ({code}), so it stays open whether " +
			"requests reach imcd", "Try it with a SIP client."},
		{code(503), Fail, "Kamailio has no imcd for {room} (503 {reason})",
			"Look at imcd's log: does the connection come and go?"},
		{anything, Fail, "a request to {room} did not reach imcd: Kamailio answered {code} {reason} itself",
			"Is route(IMC) in request_route, before the lookup of users? Does IMC_ROOM fit the name, and is the domain " +
				"Kamailio's own (alias=)? With --room SIP-URI another room is tried."},
	}
}
