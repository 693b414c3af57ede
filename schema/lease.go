package schema

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"imcd/engine/store"
)

// ErrHeld: another imcd works with the database.
var ErrHeld = errors.New("another imcd works with this database")

// Lease lets one imcd only work with the rooms of a database: see Options.Lease. On SQLite it is a
// lock of a file, which ends with the process. On PostgreSQL it makes the imcd an engine
// of the fleet, which may have to wait until it owns the rooms: see Store.Own.
type Lease struct {
	// Listen is where this imcd can be asked, for others that wait: its http_listen;
	// may be empty.
	Listen string
	// Alive reports whether this imcd does its work. While it does not, an engine does not
	// beat, so that a spare takes over. It must not block. May be nil.
	Alive func() bool
	// Ready reports whether this imcd is connected to a Kamailio: one that is takes rooms over rather than one
	// that is not. It must not block. Nil: it never is.
	Ready func() bool
	// Plans: this engine shares the rooms with the others as a plan says. Else it is a tool that wants all of
	// them, for itself.
	Plans bool
	// Spare reports whether this engine wants rooms only if no other one does. It must not block. Nil: it never does.
	Spare func() bool
	// Marks are short sums of settings that all engines should have in common, by name; others see them.
	Marks map[string]string
	// Lost is called once if this engine was deposed, with an ErrDeposed: it can commit
	// nothing any more. It must not block. May be nil.
	Lost func(error)
	// Whole reports whether the Kamailio here gives all requests to one engine, as with an older imc.cfg: then rooms are
	// not shared. It must not block. Nil: it does not.
	Whole func() bool
	// TookOver is called when this engine has taken the shards of one that it took for dead. It must not
	// block. May be nil.
	TookOver func()
	// Home is the SIP URI of the Kamailio here for those of other hosts; empty: it has no peers, or is not connected.
	// It must not block. May be nil.
	Home func() string
	// Elsewhere takes the number of shards, and which of them engines at other hosts own, by the URIs of the
	// Kamailios there, again and again; the map is its own. It must not block. May be nil.
	Elsewhere func(shards int, owned map[string]store.Owned)
	// Heard takes what another engine of the fleet has published for this one: in the order of its rows, each once as a
	// rule, and again only after a crash of the database. It must not block. May be nil.
	Heard func(BusRow)
}

// lease is what a dialect makes of a Lease. Its methods keep to their contexts.
type lease interface {
	// id is that of an engine of a fleet; 0: there is none, and commits prove nothing.
	id() int64
	// own waits until this process owns rooms, or all: see Store.Own.
	own(ctx context.Context, all bool, waits func(holder) error) (store.Fleet, error)
	// lost reports that this process was deposed.
	lost(err error)
	// ending says that this process gives the database up soon: another one waits.
	ending(ctx context.Context) error
	// release gives the database up.
	release(ctx context.Context) error
}

// holder is the process that has the lease, as it is written for others to read.
type holder struct {
	Host   string    `json:"host"`
	PID    int       `json:"pid"`
	Since  time.Time `json:"since"`
	Listen string    `json:"listen,omitempty"`
	Ending bool      `json:"ending,omitempty"` // it gives the lease up soon
	Ready  bool      `json:"ready,omitempty"`  // an engine of a fleet: it is connected to a Kamailio
	Run    string    `json:"run,omitempty"`    // of an engine of a fleet: its own word for this start
	Home   string    `json:"home,omitempty"`   // see Lease
	Shares bool      `json:"shares,omitempty"` // an engine of a fleet: it can own some shards of many
	Moving bool      `json:"moving,omitempty"` // it is about to give shards away
	Plans  bool      `json:"plans,omitempty"`  // an engine of a fleet: it follows a plan
	Whole  bool      `json:"whole,omitempty"`  // its Kamailio gives all requests to one engine
	Spare  bool      `json:"spare,omitempty"`  // it wants shards only if nobody else does
	Wants  []int64   `json:"wants,omitempty"`  // shards for which it asks their owners

	Marks map[string]string `json:"marks,omitempty"` // see Lease

	// What makes PID that of one process; empty where the system does not tell.
	Boot      string `json:"boot,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Started   string `json:"started,omitempty"` // clock ticks after the boot
}

// thisProcess is the holder that this process is.
func thisProcess(listen string) holder {
	h := holder{PID: os.Getpid(), Since: time.Now().Truncate(time.Second), Listen: listen}
	h.Host, _ = os.Hostname() // for people to read
	if text, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		h.Boot = strings.TrimSpace(string(text))
	}
	if link, err := os.Readlink("/proc/self/ns/pid"); err == nil {
		h.Namespace = link
	}
	_, h.Started = processState(h.PID)
	return h
}

// dead reports whether h was a process of this system that is certainly gone.
func (h holder) dead() bool {
	me := thisProcess("")
	if h.Boot == "" || h.Boot != me.Boot || h.Namespace == "" || h.Namespace != me.Namespace || h.PID <= 0 {
		return false
	}
	// Unlike /proc, which may hide the processes of others, this knows all of them.
	if errors.Is(syscall.Kill(h.PID, 0), syscall.ESRCH) {
		return true
	}
	state, started := processState(h.PID)
	return state == "Z" || state == "X" || started != "" && h.Started != "" && started != h.Started
}

// processState returns the state of a process and when it was started; empty if the
// system does not tell.
func processState(pid int) (state, started string) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", ""
	}
	// The second field, the program's name in brackets, may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const stateField, startedField = 0, 19 // fields 3 and 22 of proc(5)
	if len(fields) <= startedField {
		return "", ""
	}
	return fields[stateField], fields[startedField]
}

func (h holder) encode() string {
	text, err := json.Marshal(h)
	if err != nil { // a year of five digits
		return "{}"
	}
	return string(text)
}

// decodeHolder is the reverse of encode. Any other text is a holder of which nothing is
// known.
func decodeHolder(text string) (h holder) {
	if json.Unmarshal([]byte(text), &h) != nil {
		return holder{}
	}
	return h
}

func (h holder) String() string {
	if h.PID == 0 {
		return "nothing is known of it"
	}
	text := fmt.Sprintf("pid %d on host %s, since %s", h.PID, h.Host, h.Since.Local().Format(time.DateTime))
	if h.Listen != "" {
		text += ", http_listen " + h.Listen
	}
	return strings.Join(strings.Fields(text), " ") // one line, whatever was stored
}

// errHeld is the error of an imcd that may not start.
func errHeld(h holder) error {
	return fmt.Errorf("%w (%s): stop that one first, or give this one a database of its own", ErrHeld, h)
}

// lockFile takes the lease of SQLite, before the tables are changed, which another imcd may be using;
// ErrHeld names that. On PostgreSQL migrations leave the tables such that other imcd can go on.
func (s *Store) lockFile(ctx context.Context) error {
	d, ok := s.dialect.(*sqliteDialect)
	if !ok || s.opts.Lease == nil {
		return nil
	}
	l, err := d.takeLease(ctx, *s.opts.Lease)
	if err == nil {
		s.lease = l
	}
	return err
}

// join makes this imcd an engine of the fleet, on PostgreSQL.
func (s *Store) join(ctx context.Context) error {
	if s.dialect.name() != "postgres" || s.opts.Lease == nil {
		return nil
	}
	m, err := join(ctx, s.db, *s.opts.Lease, &s.durable, s.opts.Log)
	if err == nil {
		s.lease = m
	}
	return err
}

// EngineID is the id of this engine in the fleet, which no other start of an imcd has had; 0: there is no fleet.
func (s *Store) EngineID() int64 {
	if s.lease == nil {
		return 0
	}
	return s.lease.id()
}

// Own returns once this imcd owns rooms, and nobody else can write to them any more: on SQLite, and
// without a Lease, at once, and all of them. On PostgreSQL it may wait for as long as others own them all. waits is
// called once then, with a text about that one; an error of it ends Own. ErrDeposed: another imcd
// took this one for dead. Other errors are ErrUnavailable, and the end of ctx, which is an ErrHeld if
// another imcd is known.
func (s *Store) Own(ctx context.Context, waits func(other string) error) (store.Fleet, error) {
	if s.lease == nil {
		return store.Fleet{}, nil
	}
	fleet, err := s.lease.own(ctx, false, func(h holder) error { return waits(h.String()) })
	return fleet, wrap(ctx, "own the rooms", err)
}

// OwnNow is Own for tools, which want all rooms, and do not wait for an imcd that lives: ErrHeld names it.
func (s *Store) OwnNow(ctx context.Context) error {
	if s.lease == nil {
		return nil
	}
	if _, err := s.lease.own(ctx, true, errHeld); err != nil {
		return errURL("%w", wrap(ctx, s.dialect.target(), err))
	}
	return nil
}

// Ending tells another imcd that wants the database to wait until this one has
// stopped, which it does soon. Without a lease it does nothing.
func (s *Store) Ending(ctx context.Context) error {
	if s.lease == nil {
		return nil
	}
	return wrap(ctx, "announce the end", s.lease.ending(ctx))
}

// Heir reports whether another imcd is there, and takes the rooms over at once when this one gives them up. If
// this one is connected to a Kamailio, equal says whether another one is, too. Errors are ErrUnavailable.
func (s *Store) Heir(ctx context.Context) (is, equal bool, err error) {
	m, ok := s.lease.(*member)
	if !ok {
		return false, false, nil
	}
	is, equal, err = m.heir(ctx)
	return is, equal, wrap(ctx, "look for another imcd", err)
}

// Release gives the rooms up, as Close does: commits fail from now on. Another imcd has them the sooner.
func (s *Store) Release() { s.released.Do(s.releaseLease) }

// Given returns once another imcd has the rooms that Release has given up. Without a fleet it returns at once.
// Errors are ErrUnavailable; if ctx ends, nobody has them yet.
func (s *Store) Given(ctx context.Context) error {
	m, ok := s.lease.(*member)
	if !ok {
		return nil
	}
	return wrap(ctx, "wait until another imcd has the rooms", m.given(ctx))
}

// Suspect says that an engine of the fleet seems to be dead: Kamailio has lost its connection. It is
// taken for dead sooner then, if it does not beat either. Without a fleet it does nothing.
func (s *Store) Suspect(engine int64) {
	if m, ok := s.lease.(*member); ok {
		m.suspect(engine, time.Now())
	}
}

// sureFor is how long after a look at the fleet an engine may believe that it is still the owner of its
// shards: less than any other one takes to judge it.
const sureFor = 700 * time.Millisecond

// Sure reports whether this imcd has reason to believe that nobody else owns its rooms by now: it has seen
// so a moment ago. Without a fleet it always has.
func (s *Store) Sure() bool {
	m, ok := s.lease.(*member)
	return !ok || m.sure(time.Now())
}

// releaseTime bounds how long Close may take to release the lease.
const releaseTime = 500 * time.Millisecond

func (s *Store) releaseLease() {
	if s.lease == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTime)
	defer cancel()
	if err := s.lease.release(ctx); err != nil {
		s.opts.Log.Warn().Err(wrap(ctx, "release the database", err)).Msg("the next imcd may have to wait a few seconds")
	}
}
