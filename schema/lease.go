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
)

// ErrHeld: another imcd works with the database. ErrTaken: another imcd has taken it
// from this one, which can commit nothing any more.
var (
	ErrHeld  = errors.New("another imcd works with this database")
	ErrTaken = errors.New("another imcd has taken over the database")
)

// Lease keeps all but one imcd from a database: see Options.Lease. On SQLite it is a
// lock of a file, which ends with the process. On PostgreSQL it is a row that the imcd
// changes all the time. Another imcd takes the row over when it does not change any more,
// and each commit makes sure that the row is still its own.
type Lease struct {
	// Listen is where this imcd can be asked, for the error of another one: its
	// http_listen; may be empty.
	Listen string
	// Lost is called once if another imcd has taken the database, with an ErrTaken
	// that names it. It is called by a goroutine that Close waits for. May be nil.
	Lost func(error)
}

// lease is what a dialect makes of a Lease. Its methods keep to their contexts.
type lease interface {
	// id is that of the row in imcd_lease; 0: commits need not read it.
	id() int64
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

// takeLeaseEarly is takeLease before the tables are changed, which another imcd may be
// using. If there is no table imcd_lease yet, no imcd that knows leases is using them.
func (s *Store) takeLeaseEarly(ctx context.Context) error {
	if s.dialect.name() == "postgres" {
		info, err := s.dialect.table(ctx, s.db, "imcd_lease")
		if err != nil || len(info.columns) == 0 {
			return err
		}
	}
	return s.takeLease(ctx)
}

// takeLease makes this Store the only one with a lease; ErrHeld names another holder.
func (s *Store) takeLease(ctx context.Context) error {
	if s.opts.Lease == nil || s.lease != nil {
		return nil
	}
	l, err := s.dialect.takeLease(ctx, s.db, *s.opts.Lease)
	if err != nil {
		return err
	}
	s.lease = l
	return nil
}

// holderID is the id that commits must find in imcd_lease; 0: any.
func (s *Store) holderID() int64 {
	if s.lease == nil {
		return 0
	}
	return s.lease.id()
}

// Ending tells another imcd that wants the database to wait until this one has
// stopped, which it does soon. Without a lease it does nothing.
func (s *Store) Ending(ctx context.Context) error {
	if s.lease == nil {
		return nil
	}
	return wrap(ctx, "announce the end", s.lease.ending(ctx))
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
