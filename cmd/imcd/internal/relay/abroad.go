package relay

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"imcd/cmd/imcd/internal/names"
	"imcd/evapi"
)

// LookUp makes the group look up the names of other domains before a Kamailio has a copy
// for them. It is called before Start; resolver nil: the system's name servers.
func (g *Group) LookUp(resolver names.Resolver) {
	g.book = names.New(resolver, carrier{g}, g.log)
}

// carrier is the group to its Book.
type carrier struct{ *Group }

// SendTo implements names.Carrier.
func (c carrier) SendTo(conn *evapi.Conn, cp evapi.Copy) error {
	_, err := c.send(conn, cp)
	return err
}

// abroad returns the host of a copy whose name is to be looked up; empty: there is none.
func (g *Group) abroad(c *evapi.Copy) string {
	if g.book == nil {
		return ""
	}
	host := hostOf(c.To)
	if g.own.has(host) || strings.EqualFold(host, c.Out.FromHost()) || isAddress(host) {
		return ""
	}
	return host
}

func (g *Group) sendAbroad(via *evapi.Conn, host string, c evapi.Copy) (*evapi.Conn, error) {
	conn := g.ready(via)
	if conn == nil {
		return nil, evapi.ErrDown
	}
	return conn, g.book.Send(conn, names.Place{Host: host}, c)
}

// Unresolved implements evapi.NameHandler.
func (g *Group) Unresolved(c *evapi.Conn, cp evapi.Copy, host string, port uint16) bool {
	if g.book == nil {
		return false
	}
	if err := g.book.Send(c, names.Place{Host: host, Port: port}, cp); err != nil {
		g.Result(c, names.NotSent(cp.CallID, err))
	}
	return true
}

// ready is via if that is connected, else the first that is; nil if none is.
func (g *Group) ready(via *evapi.Conn) *evapi.Conn {
	if via != nil && via.Ready() {
		return via
	}
	for _, c := range g.conns {
		if c.Ready() {
			return c
		}
	}
	return nil
}

// hostOf is the host of a SIP URI without port and parameters, as a Name's is.
func hostOf(uri string) string {
	host := uri[strings.LastIndexByte(uri, '@')+1:]
	if end := strings.IndexAny(host, ";?>"); end >= 0 {
		host = host[:end]
	}
	if !strings.HasPrefix(host, "[") {
		host, _, _ = strings.Cut(host, ":")
	}
	return host
}

// isAddress tells an IP address, which needs no looking up.
func isAddress(host string) bool {
	if host == "" || host[0] != '[' && (host[0] < '0' || host[0] > '9') {
		return host == ""
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// maxLearnt bounds the domains that are not in a welcome.
const maxLearnt = 1024

// ownHosts are the hosts that the Kamailios take for their own: copies for them are
// nobody else's, and need not be looked up.
type ownHosts struct {
	now atomic.Pointer[hostSet] // nil: nothing is known yet

	mu       sync.Mutex                    // guards the fields below
	welcomes map[*evapi.Conn]evapi.Welcome // the last of each
	learnt   []string                      // from users whom a Kamailio took for its own
}

// hostSet is immutable.
type hostSet struct {
	any   bool // every host is own, or an imc.cfg does not say, and knows no Copy.Dest
	names map[string]struct{}
}

func (s *hostSet) has(host string) bool {
	if s.any {
		return true
	}
	if _, ok := s.names[host]; ok {
		return true
	}
	_, ok := s.names[strings.ToLower(host)]
	return ok
}

func (o *ownHosts) has(host string) bool {
	s := o.now.Load()
	return s == nil || s.has(host)
}

func (o *ownHosts) welcomed(c *evapi.Conn, w evapi.Welcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.welcomes == nil {
		o.welcomes = make(map[*evapi.Conn]evapi.Welcome)
	}
	o.welcomes[c] = w
	o.build()
}

// learn takes the host of a user of an own domain.
func (o *ownHosts) learn(host string) {
	if host == "" || o.has(host) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now.Load().has(host) || len(o.learnt) >= maxLearnt {
		return
	}
	o.learnt = append(o.learnt, strings.ToLower(host))
	o.build()
}

// build is called with mu held.
func (o *ownHosts) build() {
	s := &hostSet{names: make(map[string]struct{})}
	for _, w := range o.welcomes {
		s.any = s.any || w.AnyDomain || w.Rooms == nil
		for _, host := range w.Domains {
			s.names[strings.ToLower(host)] = struct{}{}
		}
	}
	for _, host := range o.learnt {
		s.names[host] = struct{}{}
	}
	o.now.Store(s)
}
