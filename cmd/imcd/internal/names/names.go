// Package names looks up where copies for other domains go, before a Kamailio has them:
// its workers wait for name servers, which whoever writes to a room can choose, and calls
// and registrations wait for its workers. A copy whose name is not found is not sent.
package names

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"imcd/evapi"
)

const (
	workers       = 16                // names that are looked up at a time
	lookupTimeout = 2 * time.Second   // of one name
	firstTry      = lookupTimeout / 3 // of that, until it is asked again: a datagram may be lost
	queueTimeout  = 4 * time.Second   // for which a name may wait for a worker
	maxQueued     = 1024              // names that wait for a worker
	maxNames      = 4096              // names that are remembered
	maxWaiting    = 4096              // copies that wait for a name, of all names
	maxWaitingFor = 256               // of these, for one name
	goodFor       = time.Minute       // how long a result is used
	badFor        = 30 * time.Second
)

// Resolver has the methods of *net.Resolver that the package needs.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Carrier sends copies and takes the outcomes of those that are not sent. Its methods
// must not block.
type Carrier interface {
	SendTo(conn *evapi.Conn, c evapi.Copy) error
	Result(conn *evapi.Conn, r evapi.Result)
}

// Book remembers names and looks up those that it does not know. Its methods are safe
// for concurrent use.
type Book struct {
	resolver Resolver
	carrier  Carrier
	log      zerolog.Logger
	queue    chan *entry
	ctx      context.Context // ends with Stop
	cancel   context.CancelFunc
	loops    sync.WaitGroup

	mu      sync.Mutex // guards the fields below; nothing blocks while it is held
	stopped bool
	entries map[string]*entry // by Place.key; at most maxNames
	waiting int               // copies in all entries
	count   Counts
}

// Counts are figures of a Book, since it was made but for Waiting.
type Counts struct {
	Found   uint64 // names that were found
	Missing uint64 // names that were not
	Refused uint64 // copies that did not fit, or waited too long; they are tried again later
	Waiting int    // copies that wait for a name
}

// Place is a host name, with a port if the URI has one.
type Place struct {
	Host string
	Port uint16 // 0: none
}

// entry is the result of one name, or the copies that wait for it. Guarded by the
// Book's mutex, but for place, which is never changed.
type entry struct {
	place   Place
	key     string
	dests   []string // SIP URIs; empty: not found, or not looked up yet
	turn    int      // which of them is next
	until   time.Time
	asked   time.Time // when it was queued; zero: it is not being looked up
	waiting []copyTo
}

type copyTo struct {
	conn *evapi.Conn
	copy evapi.Copy
}

// New makes a Book; resolver nil: the system's name servers.
func New(resolver Resolver, carrier Carrier, log zerolog.Logger) *Book {
	if resolver == nil {
		// Go's own: it keeps to its deadline, and takes no thread meanwhile.
		resolver = &net.Resolver{PreferGo: true}
	}
	b := &Book{resolver: resolver, carrier: carrier, log: log,
		queue: make(chan *entry, maxQueued), entries: make(map[string]*entry)}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Start begins to look names up.
func (b *Book) Start() {
	for range workers {
		b.loops.Go(b.work)
	}
}

// Stop ends lookups under way and waits for them. Waiting copies have their outcome then.
func (b *Book) Stop() {
	b.mu.Lock()
	b.stopped = true
	b.mu.Unlock()
	b.cancel()
	b.loops.Wait()
	var left []copyTo
	b.mu.Lock()
	for _, e := range b.entries {
		left = append(left, b.take(e)...)
	}
	b.mu.Unlock()
	b.give(left, evapi.Result{Code: 503, Local: true, Reason: "imcd is stopping"})
}

// Counts returns the figures.
func (b *Book) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.count
	c.Waiting = b.waiting
	return c
}

// Send sends a copy to where place is, at once if that is known. A nil error means that
// the copy has its outcome, or will have; the others are SendTo's, and evapi.ErrDown after
// Stop.
func (b *Book) Send(conn *evapi.Conn, place Place, c evapi.Copy) error {
	b.mu.Lock()
	if b.stopped {
		b.mu.Unlock()
		return evapi.ErrDown
	}
	e := b.entry(place)
	switch {
	case e == nil || e.asked.IsZero() && !time.Now().Before(e.until) && !b.ask(e),
		!e.asked.IsZero() && (len(e.waiting) >= maxWaitingFor || b.waiting >= maxWaiting):
		b.count.Refused++
		b.mu.Unlock()
		b.carrier.Result(conn, tooMany(c.CallID))
		return nil
	case !e.asked.IsZero():
		e.waiting = append(e.waiting, copyTo{conn, c})
		b.waiting++
		b.mu.Unlock()
		return nil
	}
	c.Dest = e.next()
	b.mu.Unlock()
	if c.Dest == "" {
		b.carrier.Result(conn, notFound(c.CallID))
		return nil
	}
	return b.carrier.SendTo(conn, c)
}

// tooMany is the outcome of a copy that may go well later.
func tooMany(callID string) evapi.Result {
	return evapi.Result{CallID: callID, Code: 500, Local: true, Reason: "too many names to look up"}
}

// NotSent is the outcome of a copy that Send or SendTo has refused with err.
func NotSent(callID string, err error) evapi.Result {
	r := evapi.Result{CallID: callID, Code: 400, Local: true, Reason: err.Error()}
	if errors.Is(err, evapi.ErrDown) || errors.Is(err, evapi.ErrFull) {
		r.Code = 500
	}
	return r
}

// notFound is Kamailio's answer, too, if it does not find a name.
func notFound(callID string) evapi.Result { return evapi.Result{CallID: callID, Code: 478} }

// entry returns the entry of place, a new one if there is none; nil: there is no space.
// It is called with mu held.
func (b *Book) entry(place Place) *entry {
	key := place.key()
	if e := b.entries[key]; e != nil {
		return e
	}
	if len(b.entries) >= maxNames && !b.forgetOne() {
		return nil
	}
	e := &entry{place: place, key: key}
	b.entries[key] = e
	return e
}

// forgetOne drops some name that nobody waits for, one that is out of date if it is quickly found.
// It is called with mu held.
func (b *Book) forgetOne() bool {
	const looks = 32
	now, n := time.Now(), 0
	var some *entry
	for _, e := range b.entries {
		if n++; e.asked.IsZero() {
			some = e
			if !now.Before(e.until) {
				break
			}
		}
		if n >= looks && some != nil {
			break
		}
	}
	if some == nil {
		return false
	}
	delete(b.entries, some.key)
	return true
}

// ask queues a name; false: too many are. It is called with mu held.
func (b *Book) ask(e *entry) bool {
	e.asked = time.Now()
	select {
	case b.queue <- e:
		return true
	default:
		delete(b.entries, e.key)
		return false
	}
}

// take returns the copies that wait for e. It is called with mu held.
func (b *Book) take(e *entry) []copyTo {
	list := e.waiting
	e.waiting = nil
	b.waiting -= len(list)
	return list
}

// next returns the address of the next copy: each in turn. It is called with mu held.
func (e *entry) next() string {
	if len(e.dests) == 0 {
		return ""
	}
	e.turn = (e.turn + 1) % len(e.dests)
	return e.dests[e.turn]
}

func (b *Book) work() {
	for {
		select {
		case <-b.ctx.Done():
			return
		case e := <-b.queue:
			b.find(e)
		}
	}
}

// find looks one name up and sends the copies that wait for it.
func (b *Book) find(e *entry) {
	b.mu.Lock()
	late := time.Since(e.asked) > queueTimeout
	b.mu.Unlock()
	if late {
		b.done(e, nil, errors.New("waited too long for a free place"), 0)
		return
	}
	dests, err := b.try(firstTry, e.place)
	if err != nil && !notThere(err) {
		dests, err = b.try(lookupTimeout-firstTry, e.place)
	}
	if b.ctx.Err() != nil {
		return // Stop gives waiting copies their outcome
	}
	if err == nil {
		b.done(e, dests, nil, goodFor)
		return
	}
	b.log.Debug().Err(err).Str("name", e.key).Msg("name not found")
	if !notThere(err) {
		dests = b.before(e) // a name server that is silent once does not make an earlier result worthless
	}
	b.done(e, dests, nil, badFor)
}

func (b *Book) try(d time.Duration, p Place) ([]string, error) {
	ctx, cancel := context.WithTimeout(b.ctx, d)
	defer cancel()
	return lookup(ctx, b.resolver, p)
}

// notThere reports whether a name server has said that there is no such name.
func notThere(err error) bool {
	var dns *net.DNSError
	return errors.Is(err, errNoAddress) || errors.As(err, &dns) && dns.IsNotFound
}

// before is where e was found last; empty: nowhere.
func (b *Book) before(e *entry) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return e.dests
}

// done notes a result; late: no name server was asked.
func (b *Book) done(e *entry, dests []string, late error, good time.Duration) {
	b.mu.Lock()
	e.dests, e.asked, e.until = dests, time.Time{}, time.Now().Add(good)
	list := b.take(e)
	switch {
	case late != nil:
		b.count.Refused += uint64(len(list))
		delete(b.entries, e.key)
	case len(dests) > 0:
		b.count.Found++
		for i := range list {
			list[i].copy.Dest = e.next()
		}
	default:
		b.count.Missing++
	}
	b.mu.Unlock()
	if len(dests) == 0 {
		r := notFound("")
		if late != nil {
			r = tooMany("")
		}
		b.give(list, r)
		return
	}
	for _, w := range list {
		if err := b.carrier.SendTo(w.conn, w.copy); err != nil {
			b.carrier.Result(w.conn, NotSent(w.copy.CallID, err))
		}
	}
}

func (b *Book) give(list []copyTo, r evapi.Result) {
	for _, w := range list {
		r.CallID = w.copy.CallID
		b.carrier.Result(w.conn, r)
	}
}

// key tells names apart.
func (p Place) key() string {
	key := strings.ToLower(strings.TrimSuffix(p.Host, "."))
	if p.Port != 0 {
		key += ":" + portText(p.Port)
	}
	return key
}
