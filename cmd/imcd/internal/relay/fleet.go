package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"imcd/evapi"
)

// maxDeposed bounds the deposed engines that Kamailios learn again. By then an older one has
// noticed.
const maxDeposed = 16

// fleet is what every Kamailio is to know of this engine among others (evapi.Config.Engine). Without a
// name it stays empty: Kamailio gives an imcd without a name everything.
type fleet struct {
	mu      sync.Mutex  // guards the fields below, and is held while frames of them are sent
	shards  int         // 0: not known yet
	owned   map[int]int // epochs of the shards of this engine
	deposed []string    // other engines, the latest last; at most maxDeposed
	away    elsewhere   // shards of engines at other hosts
}

// elsewhere has the epochs of shards that engines at other hosts own, by the SIP URI of the Kamailio there.
type elsewhere map[string]map[int]int

// Shards tells all Kamailios, the later ones too, into how many shards rooms are divided.
func (g *Group) Shards(n int) {
	f := &g.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shards = n
	g.tell("the number of shards", func(c *evapi.Conn) error { return c.Fleet(n) })
}

// Own tells all Kamailios, the later ones too, that this engine owns shards, beside those that it owns already.
// Requests for their rooms come from then on.
func (g *Group) Own(shards []evapi.Shard) {
	f := &g.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.owned == nil {
		f.owned = make(map[int]int)
	}
	for _, s := range shards {
		f.owned[s.Shard] = s.Epoch
	}
	for _, c := range g.conns {
		c.Retry() // an older Kamailio may give everything to this engine now
	}
	g.tell("the shards that this engine owns", func(c *evapi.Conn) error { return c.Own(shards) })
}

// At tells all Kamailios, the later ones too, into how many shards rooms are divided, and where those are that engines
// at other hosts own. It replaces what the call before said.
func (g *Group) At(n int, shards map[string][]evapi.Shard) {
	f := &g.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	if n != f.shards {
		f.shards = n
		g.tell("the number of shards", func(c *evapi.Conn) error { return c.Fleet(n) })
	}
	before := f.away
	f.away = make(elsewhere)
	for peer, all := range shards {
		var changed []evapi.Shard
		f.away[peer] = make(map[int]int)
		for _, s := range all {
			f.away[peer][s.Shard] = s.Epoch
			if epoch, was := before[peer][s.Shard]; !was || epoch != s.Epoch {
				changed = append(changed, s)
			}
		}
		if len(changed) > 0 {
			g.tell("the shards of a peer", func(c *evapi.Conn) error { return c.At(peer, changed) })
		}
	}
}

// Home is the SIP URI of a connected Kamailio for those of other hosts; empty: there is none.
func (g *Group) Home() (peer string) {
	g.linkMu.Lock()
	defer g.linkMu.Unlock()
	for _, c := range g.conns {
		if w, ok := g.welcomes[c]; ok {
			peer = cmp.Or(peer, w.Peer)
		}
	}
	return peer
}

// Park lets requests for rooms of shards wait in all Kamailios. When it returns without an error, no more
// of them come to this engine; it still answers those that it has. A Kamailio that is not connected, or
// loses its connection meanwhile, gives it none either.
func (g *Group) Park(ctx context.Context, shards []int) error {
	f := &g.fleet
	f.mu.Lock()
	for _, s := range shards {
		delete(f.owned, s)
	}
	f.mu.Unlock()
	errs := make([]error, len(g.conns))
	var waiting sync.WaitGroup
	for i, c := range g.conns {
		waiting.Go(func() {
			if err := c.Park(ctx, shards); err != nil && !absent(err) {
				errs[i] = fmt.Errorf("park shards at Kamailio %s: %w", c.Name(), err)
			}
		})
	}
	waiting.Wait()
	return errors.Join(errs...)
}

// Keeps reports whether all connected Kamailios can keep requests for another engine, and there is one.
func (g *Group) Keeps() bool {
	g.linkMu.Lock()
	defer g.linkMu.Unlock()
	for _, w := range g.welcomes {
		if w.Place == 0 {
			return false
		}
	}
	return len(g.welcomes) > 0
}

// Older reports whether a connected Kamailio has an older imc.cfg, which knows of one engine only.
func (g *Group) Older() bool {
	g.linkMu.Lock()
	defer g.linkMu.Unlock()
	for _, w := range g.welcomes {
		if w.Place == 0 {
			return true
		}
	}
	return false
}

// Leave lets requests for all rooms wait in all Kamailios, for an engine that takes the shards over. When it
// returns, no more of them come, as with Park. A Kamailio that cannot do this gives this engine further
// requests: Refuse answers them.
func (g *Group) Leave(ctx context.Context) error {
	f := &g.fleet
	f.mu.Lock()
	all := slices.Sorted(maps.Keys(f.owned))
	f.mu.Unlock()
	err := g.Park(ctx, all)
	g.leaving.Store(true)
	return err
}

// Move hands a request back to its Kamailio: it is about a room of another slot (evapi.Conn.Move). The
// error is that of a Kamailio that cannot do this: then this engine must answer.
func (g *Group) Move(m *evapi.Message, slot int) error {
	err := m.Conn.Move(m.Tx, slot)
	if errors.Is(err, evapi.ErrDown) {
		return nil // Kamailio has given the request to somebody else by itself
	}
	return err
}

// Depose tells all Kamailios that another engine owns nothing any more.
func (g *Group) Depose(engine string) {
	f := &g.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deposed = append(f.deposed, engine)
	if n := len(f.deposed); n > maxDeposed {
		f.deposed = slices.Delete(f.deposed, 0, n-maxDeposed)
	}
	g.tell("that engine "+engine+" is deposed", func(c *evapi.Conn) error { return c.Depose(engine) })
}

// repeat tells a Kamailio everything again.
func (g *Group) repeat(c *evapi.Conn) {
	f := &g.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, engine := range f.deposed {
		g.tellOne(c, "that engine "+engine+" is deposed", c.Depose(engine))
	}
	if f.shards == 0 {
		return
	}
	g.tellOne(c, "the number of shards", c.Fleet(f.shards))
	g.tellOne(c, "the shards that this engine owns", c.Own(listed(f.owned)))
	for _, peer := range slices.Sorted(maps.Keys(f.away)) {
		g.tellOne(c, "the shards of a peer", c.At(peer, listed(f.away[peer])))
	}
}

// listed are shards with their epochs, in order.
func listed(epochs map[int]int) (all []evapi.Shard) {
	for _, s := range slices.Sorted(maps.Keys(epochs)) {
		all = append(all, evapi.Shard{Shard: s, Epoch: epochs[s]})
	}
	return all
}

// Others is what a Group needs to know of the other engines, and they of it.
type Others struct {
	// Gone takes the name of an engine that has lost its connection to a Kamailio. It must not block. All of them may be
	// nil.
	Gone func(engine string)
	// Registered takes who has registered at a Kamailio here, and Missed says that this may have been missed: a Kamailio
	// is connected again. They must not block.
	Registered func(aor string)
	Missed     func()
	// Sure reports whether this engine may still be the owner of its shards, as far as it knows.
	Sure func() bool
}

// Join makes this engine one of several. It is called before Start.
func (g *Group) Join(o Others) { g.others = o }

// plain reports whether an older Kamailio may give everything to this engine: it owns the shards, and
// has no reason to think that another one has taken them meanwhile.
func (g *Group) plain() bool {
	f := &g.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.owned) > 0 && (g.others.Sure == nil || g.others.Sure())
}

func (g *Group) tell(what string, send func(c *evapi.Conn) error) {
	for _, c := range g.conns {
		g.tellOne(c, what, send(c))
	}
}

// tellOne logs why a Kamailio did not get a frame. One that is not connected gets it once it is.
func (g *Group) tellOne(c *evapi.Conn, what string, err error) {
	if err != nil && !absent(err) {
		g.log.Error().Err(err).Str("kamailio", c.Name()).Str("what", what).
			Msg("a frame about the fleet was not sent to Kamailio")
	}
}

// absent reports whether a Kamailio is not connected, or does not know of several engines.
func absent(err error) bool { return errors.Is(err, evapi.ErrDown) || errors.Is(err, evapi.ErrAlone) }

// Gone implements evapi.GoneHandler.
func (g *Group) Gone(c *evapi.Conn, engine string) {
	g.log.Warn().Str("kamailio", c.Name()).Str("engine", engine).
		Msg("another imcd has lost its connection to Kamailio")
	if g.others.Gone != nil {
		g.others.Gone(engine)
	}
}
