package schema

import (
	"cmp"
	"fmt"
	"regexp"
	"time"

	"github.com/rs/zerolog"
)

// Options of Open. The zero value of a field means its default.
type Options struct {
	RoomsTable   string // imc_rooms
	MembersTable string // imc_members

	MaxConns   int           // connections to PostgreSQL beside those of commits, at least 2; 8
	SlowCommit time.Duration // a commit that takes longer is logged; 1 s

	// Lease, if not nil, makes sure that no other Store with a Lease writes to the
	// rooms at the same time. Tools that only look, or that run while imcd does not, need none.
	Lease *Lease

	Log zerolog.Logger // the zero value logs nothing
}

// maxTableName is the length of version.table_name, in characters.
const maxTableName = 32

func (o Options) withDefaults() Options {
	o.RoomsTable = cmp.Or(o.RoomsTable, "imc_rooms")
	o.MembersTable = cmp.Or(o.MembersTable, "imc_members")
	// One connection holds the migration lock while another one migrates.
	o.MaxConns = max(cmp.Or(o.MaxConns, 8), 2)
	o.SlowCommit = cmp.Or(o.SlowCommit, time.Second)
	return o
}

func (o Options) check() error {
	if err := checkTable("rooms_table", o.RoomsTable); err != nil {
		return err
	}
	if err := checkTable("members_table", o.MembersTable); err != nil {
		return err
	}
	if o.RoomsTable == o.MembersTable {
		return fmt.Errorf("members_table: %q is the rooms_table already", o.MembersTable)
	}
	return nil
}

// checkTable keeps everything but a plain identifier out of our SQL. The name is
// used without quotes there, as Kamailio does, so that both mean the same table.
func checkTable(key, name string) error {
	if len(name) > maxTableName {
		return fmt.Errorf("%s: %q is longer than %d characters", key, name, maxTableName)
	}
	if !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`).MatchString(name) {
		return fmt.Errorf("%s: %q is not a table name (letters, digits and _ only)", key, name)
	}
	return nil
}
