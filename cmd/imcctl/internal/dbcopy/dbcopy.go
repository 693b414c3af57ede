// Package dbcopy copies the tables of Kamailio's imc module between MySQL or MariaDB, PostgreSQL and SQLite. All rows
// are read and checked before one is written, and all are written in one transaction.
package dbcopy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"imcd/schema"
)

// Options of Run.
type Options struct {
	From, To                 string // mysql://…, postgres://… or sqlite://…
	RoomsTable, MembersTable string // in both databases; empty: imc_rooms, imc_members
	MySQLPassword            string // for URLs of MySQL that have none
	DryRun                   bool   // nothing is written
	Replace                  bool   // the rows that are in To are deleted

	// Progress is called with the rows that are read, and later with those that are written. May be nil.
	Progress func(step Step, done, total int)
}

// Step is a part of the work.
type Step string

// The steps.
const (
	Reading Step = "reading"
	Writing Step = "writing"
)

// Counts are numbers of rows.
type Counts struct{ Rooms, Members int }

// Left are rows of imcd's own that are not copied.
type Left struct {
	What string // in words
	Rows int
}

// Report is what Run has found and done.
type Report struct {
	From, To      string // the databases, without secrets
	Read, Written Counts // Written: in a dry run, what would be written
	There         Counts // rows that were in To before; in a dry run only
	Findings      []Finding
	Left          []Left
	Took          time.Duration
}

// ErrSame: From and To are one database.
var ErrSame = errors.New("both URLs name the same database")

// longest bounds Run, whatever the databases do, and looking how long it may take to reach one and look at its tables.
const (
	longest = time.Hour
	looking = 30 * time.Second
)

// tables are the module's tables in a database.
type tables interface {
	target() string    // the database, without secrets
	missing() []string // those of the two tables that are not there
	folds() bool       // names are compared without case
	forImcd() bool     // imcd may work with the database
	// own keeps every imcd away, where there may be one.
	own(ctx context.Context, toWrite bool) error
	count(ctx context.Context) (Counts, error)
	read(ctx context.Context, progress func(rows int)) (schema.ModuleRows, error)
	// left are rows that read does not return, and imcd would miss.
	left(ctx context.Context) ([]Left, error)
	// replace makes tables that are missing, and fills both.
	replace(ctx context.Context, all schema.ModuleRows, replace bool, progress func(rows int)) error
	close()
}

// Run copies the tables. Nobody may change them meanwhile: an imcd that works with one of the databases is a
// schema.ErrHeld, but for a dry run; a Kamailio with imc.so cannot be seen. The error schema.ErrNotEmpty means that
// To has rows. What has been found before an error is in the Report.
func Run(ctx context.Context, o Options) (r Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	began := time.Now()
	defer func() { r.Took = time.Since(began) }()
	if o.Progress == nil {
		o.Progress = func(Step, int, int) {}
	}
	o.RoomsTable = cmp.Or(o.RoomsTable, "imc_rooms")
	o.MembersTable = cmp.Or(o.MembersTable, "imc_members")
	from, err := open(ctx, o.From, &o)
	if err != nil {
		return r, fmt.Errorf("--from: %w", err)
	}
	defer from.close()
	r.From = from.target()
	if missing := from.missing(); len(missing) > 0 {
		return r, fmt.Errorf("--from: %s has no table %s", r.From, missing[0])
	}
	to, err := open(ctx, o.To, &o)
	if err != nil {
		return r, fmt.Errorf("--to: %w", err)
	}
	defer to.close()
	if r.To = to.target(); r.To == r.From {
		return r, ErrSame
	}
	if !o.DryRun {
		if err := from.own(ctx, false); err != nil {
			return r, fmt.Errorf("--from: %w", err)
		}
		if err := to.own(ctx, true); err != nil {
			return r, fmt.Errorf("--to: %w", err)
		}
	}
	err = copyTables(ctx, &o, from, to, &r)
	return r, err
}

func copyTables(ctx context.Context, o *Options, from, to tables, r *Report) error {
	total, err := from.count(ctx)
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	sum := total.Rooms + total.Members
	all, err := from.read(ctx, func(n int) { o.Progress(Reading, n, max(n, sum)) })
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	r.Read = Counts{len(all.Rooms), len(all.Members)}
	if r.Left, err = from.left(ctx); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	kept, found := clean(all, from.folds(), to.forImcd())
	r.Written = Counts{len(kept.Rooms), len(kept.Members)}
	r.Findings = found
	if o.DryRun {
		if r.There, err = to.count(ctx); err != nil {
			return fmt.Errorf("--to: %w", err)
		}
		return nil
	}
	sum = r.Written.Rooms + r.Written.Members
	if err := to.replace(ctx, kept, o.Replace, func(n int) { o.Progress(Writing, n, sum) }); err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	return nil
}
