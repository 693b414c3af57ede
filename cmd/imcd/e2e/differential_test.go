package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/schema"
	"imcd/schema/schematest"
)

// Size of the comparison. Every seed is one conversation.
const (
	seeds        = 6
	stepsPerSeed = 340
	timeLimit    = 20 * time.Minute // for one comparison: something hangs
)

// comparison runs the same conversations against Kamailio's imc module and
// against imcd.
type comparison struct {
	t       *testing.T
	ctx     context.Context
	strict  bool   // create_on_join is 0, check_on_create 1
	peerURL string // database of the module
	peer    *evapitest.Kamailio
	stacks  []*stack.Stack // one imcd, or a fleet
	started func()         // called when these were started again; may be nil
	module  *side
	imcd    *side
	stored  *schema.Store // imcd's tables
	saved   *schema.Store // the module's, which it writes when it ends
	rules   []rule
	used    map[string]int // by rule
	history []string       // of this conversation
	steps   int            // of all conversations
}

// TestDifferential compares imcd with the imc module of Kamailio 5.6.3, step by
// step. What differs must be in ruleTable.
func TestDifferential(t *testing.T) {
	t.Parallel()
	c := newComparison(t, schematest.NewDatabase(t), false)
	first, last := seedRange(t)
	for seed := first; seed <= last; seed++ {
		c.converse(seed, stepsPerSeed)
	}
	if first == 1 && last == seeds {
		c.checkUse(c.rules)
	}
	t.Logf("%6d steps", c.steps)
}

// checkUse reports how often rules were needed; never is an error.
func (c *comparison) checkUse(rules []rule) {
	c.t.Helper()
	for _, r := range rules {
		c.t.Logf("%6d  %s", c.used[r.name], r.name)
		if c.used[r.name] == 0 {
			c.t.Errorf("rule %q was never needed", r.name)
		}
	}
}

// seedRange is which conversations to have: 1 to seeds, or what the environment
// says, as in DIFFERENTIAL_SEEDS=17-17 to see one again.
func seedRange(t *testing.T) (first, last uint64) {
	t.Helper()
	text := os.Getenv("DIFFERENTIAL_SEEDS")
	if text == "" {
		return 1, seeds
	}
	if _, err := fmt.Sscanf(text, "%d-%d", &first, &last); err != nil {
		t.Fatalf("DIFFERENTIAL_SEEDS is %q, not like 1-%d: %v", text, seeds, err)
	}
	return first, last
}

// TestDifferentialSQLite does the same, shorter, with imcd on its embedded
// default.
func TestDifferentialSQLite(t *testing.T) {
	t.Parallel()
	c := newComparison(t, "sqlite://"+t.TempDir()+"/imcd.db", false)
	c.converse(1000, stepsPerSeed/2)
}

// TestDifferentialFleet does it with three imcd that share the rooms, and users at two Kamailios.
func TestDifferentialFleet(t *testing.T) {
	forTestFleet(t)
	t.Parallel()
	var f *fleet
	c := compareWith(t, schematest.NewDatabase(t), false, func(opts stack.Options) []*stack.Stack {
		f = startShared(t, opts)
		return f.imcd
	})
	for _, user := range users {
		for _, spelling := range []string{user, strings.ToUpper(user)} {
			c.must(f.located(c.ctx, spelling, true))
		}
	}
	c.started = func() { f.shares(t, 22, 21, 21) }
	for seed := range uint64(2) {
		c.converse(3001+seed, stepsPerSeed/4)
	}
}

// TestDifferentialParameters does it with create_on_join 0 and check_on_create 1
// on both sides.
func TestDifferentialParameters(t *testing.T) {
	t.Parallel()
	c := newComparison(t, "sqlite://"+t.TempDir()+"/imcd.db", true)
	more := parameterRules()
	c.rules = append(c.rules, more...)
	c.converse(2000, stepsPerSeed/2)
	c.checkUse(more)
}

// converse runs one conversation, for even seeds from stored rooms, else from
// none.
func (c *comparison) converse(seed uint64, steps int) {
	c.t.Helper()
	c.history = []string{fmt.Sprintf("seed %d", seed)}
	g := newGenerator(seed)
	now := c.begin(seed%2 == 0)
	for range steps {
		now = c.step(g.step(now), now)
	}
	for len(g.next) > 0 {
		now = c.step(g.step(now), now)
	}
	c.compareTables(now)
	c.clean(now)
}

// fail ends the test with all that happened.
func (c *comparison) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("%s\n%s", strings.Join(c.history, "\n"), fmt.Sprintf(format, args...))
}

// step takes one step on both sides, compares, and returns the new state.
func (c *comparison) step(st step, before state) state {
	c.t.Helper()
	c.history = append(c.history, st.String())
	c.steps++
	sc := newScene(st, before)
	sc.checkOnCreate = c.strict
	module, imcd := c.play(&sc)
	want, names := c.expect(&sc, module)
	if !want.equal(imcd) {
		c.fail("an unexplained difference:\nmodule   %v\nexpected %v\nimcd     %v\nrules %q\nbefore:\n%v", module, want,
			imcd, names, before)
	}
	theirs, ours, err := atOnce(
		func() (map[string]listing, error) { return c.module.listings(c.ctx) },
		func() (map[string]listing, error) { return c.imcd.listings(c.ctx) })
	if err != nil {
		c.fail("listing the rooms: %v\n%s", err, c.peer.LogTail())
	}
	if !maps.EqualFunc(theirs, ours, listing.equal) {
		c.fail("members differ:\nmodule %v\nimcd   %v\nrules %q", theirs, ours, names)
	}
	now, err := loadState(c.ctx, c.stored)
	c.must(err)
	return now
}

// play takes the step on both sides at once, with what brings their states
// together after it.
func (c *comparison) play(sc *scene) (module, imcd outcome) {
	c.t.Helper()
	module, imcd, err := atOnce(
		func() (outcome, error) { return c.module.do(c.ctx, sc.step) },
		func() (outcome, error) { return c.imcd.do(c.ctx, sc.step) })
	if err != nil {
		c.fail("no outcome: %v\n%s", err, c.peer.LogTail())
	}
	var imcdSteps []step
	if sc.cut {
		imcdSteps = append(imcdSteps, sc.cutStep())
	}
	var moduleSteps []step
	for _, r := range c.rules {
		if !r.when(sc, module) {
			continue
		}
		if r.onModule != nil {
			moduleSteps = append(moduleSteps, r.onModule(sc))
		}
		if r.onImcd != nil {
			imcdSteps = append(imcdSteps, r.onImcd(sc))
		}
	}
	c.follow(c.module, &module, moduleSteps)
	c.follow(c.imcd, &imcd, imcdSteps)
	return module, imcd
}

// atOnce runs two functions at the same time.
func atOnce[T any](f, g func() (T, error)) (T, T, error) {
	var y T
	var errG error
	done := make(chan struct{})
	go func() {
		defer close(done)
		y, errG = g()
	}()
	x, errF := f()
	<-done
	return x, y, errors.Join(errF, errG)
}

// follow takes further steps on one side.
func (c *comparison) follow(s *side, o *outcome, steps []step) {
	c.t.Helper()
	for _, st := range steps {
		c.history = append(c.history, "  one side only: "+st.String())
		more, err := s.do(c.ctx, st)
		if err != nil {
			c.fail("no outcome: %v\n%s", err, c.peer.LogTail())
		}
		o.merge(more)
	}
}

// expect turns the module's outcome into imcd's by all rules that apply, and
// counts those that change it.
func (c *comparison) expect(sc *scene, module outcome) (outcome, []string) {
	want := module.clone()
	var names []string
	for _, r := range c.rules {
		if !r.when(sc, module) {
			continue
		}
		was := want.clone()
		r.expect(sc, &want)
		if !was.equal(want) {
			c.used[r.name]++
			names = append(names, r.name)
		}
	}
	return want, names
}

// compareTables ends the module, which then writes its tables, and compares them
// with imcd's: rooms, members, roles, invitations and private flags.
func (c *comparison) compareTables(now state) {
	c.t.Helper()
	c.must(c.peer.Halt())
	saved, err := loadState(c.ctx, c.saved)
	c.must(err)
	if saved.String() != now.String() {
		c.fail("the tables differ at the end:\nmodule\n%vimcd\n%v%s", saved, now, c.peer.LogTail())
	}
}

// clean empties both systems; the module does not run.
func (c *comparison) clean(now state) {
	c.t.Helper()
	c.onPeer("DELETE FROM imc_members; DELETE FROM imc_rooms")
	for room, r := range now {
		for name, p := range r.members {
			if !isOwner(p, true) {
				continue
			}
			user, _, _ := strings.Cut(name, "@")
			o, err := c.imcd.do(c.ctx, step{sender: user, uri: "sip:" + room, body: "#destroy"})
			c.must(err)
			if !o.ok {
				c.fail("room %s cannot be destroyed by %s: %v", room, name, o)
			}
		}
	}
}
