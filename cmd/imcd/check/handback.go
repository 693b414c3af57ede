package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"imcd/schema"
)

// handbackWait bounds HandBack, which may have to write all members again.
const handbackWait = 10 * time.Minute

// shownRooms is how many rooms a line names.
const shownRooms = 20

// HandBack makes the tables fit for Kamailio's imc module, and hands each result to print.
// It reports whether anything failed. No imcd may run. Of o only File and Environ count.
func HandBack(ctx context.Context, o Options, print func(Line)) (failed bool) {
	return alone(ctx, o, handbackWait, print, func(ctx context.Context, r *run, s *schema.Store) {
		h, err := s.HandBack(ctx)
		if err != nil {
			r.say("owners", Fail, err.Error(), "Call this again: it goes on where it ended.")
			return
		}
		r.handedBack(h)
	})
}

// alone calls do, within wait, with the database of the configuration, with which no imcd may work. It reports
// whether anything failed.
func alone(ctx context.Context, o Options, wait time.Duration, print func(Line),
	do func(context.Context, *run, *schema.Store)) (failed bool) {
	r := &run{Options: o, print: print}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if !r.configuration() || !r.database(ctx) {
		return true
	}
	s, err := schema.Open(ctx, r.cfg.DB.URL, schema.Options{RoomsTable: r.cfg.DB.RoomsTable,
		MembersTable: r.cfg.DB.MembersTable, Lease: &schema.Lease{}, Log: zerolog.Nop()})
	if err == nil {
		defer s.Close() // all is committed, or the first error tells more
		err = s.OwnNow(ctx)
	}
	if err != nil {
		r.say("database", Fail, err.Error(), remedyHeld(err))
		return true
	}
	do(ctx, r, s)
	return r.fails > 0
}

func remedyHeld(err error) string {
	if errors.Is(err, schema.ErrHeld) {
		return "Stop imcd, so that nobody writes to the tables, and call this again."
	}
	return ""
}

func (r *run) handedBack(h schema.Handback) {
	r.say("owners", OK, fmt.Sprintf("the rows of %d rooms were put in order; imc.so takes the first member for the owner",
		len(h.Reordered)), "")
	if len(h.Disordered) > 0 {
		r.say("owners", Warn, "still not the first member in "+listed(h.Disordered), "Call this again.")
	}
	if len(h.Empty) > 0 {
		r.say("rooms", Warn, "without members: "+listed(h.Empty)+"; imc.so stops loading rooms at the first of these",
			"Start imcd, destroy them by imcctl destroy, stop imcd and call this again; a room that imcd does not "+
				"know: delete its row of the table of rooms.")
	}
}

func listed(rooms []string) string {
	if more := len(rooms) - shownRooms; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(rooms[:shownRooms], ", "), more)
	}
	return strings.Join(rooms, ", ")
}
