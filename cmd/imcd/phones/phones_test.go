package phones

import (
	"slices"
	"testing"

	"imcd/evapi/evapitest"
)

// users are the subscribers of the sites that this package starts: each part of a test
// has its own.
func users() []string {
	names := []string{
		"zoe",
		"alice", "bob", "carol", "dora", "eve", "frank", // roomOfAll
		"ann", "ben", "cid", "dan", "eli", // linphones
		"gus", "hal", "ida", // worstRoom
	}
	for _, m := range evapitest.Worst() {
		names = append(names, "worst-"+m.Name)
	}
	return names
}

// TestPhones tries everything on a site with SQLite and on one with PostgreSQL.
func TestPhones(t *testing.T) {
	for _, database := range []string{"sqlite", "postgres"} {
		t.Run(database, func(t *testing.T) {
			s := startSite(t, siteOptions{database: database, domain: domain,
				users: slices.Concat(users(), machineUsers())})
			t.Run("room", func(t *testing.T) { roomOfAll(t, s) })
			t.Run("linphone", func(t *testing.T) { linphones(t, s) })
			t.Run("cpim", func(t *testing.T) { cpim(t, s) })
			t.Run("machines", func(t *testing.T) { machines(t, s) })
			t.Run("worst", func(t *testing.T) { worstRoom(t, s) })
		})
	}
}
