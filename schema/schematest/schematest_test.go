package schematest_test

import (
	"context"
	"os"
	"testing"
	"time"

	"imcd/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

func TestServerCanBeStoppedFrozenAndStarted(t *testing.T) {
	pg := schematest.New(t, schematest.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(pg.CreateDatabase("a-b"))
	must(pg.Exec(ctx, "a-b", "CREATE TABLE t (x int)"))
	must(pg.Pause())
	short, cancelShort := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancelShort()
	answered := make(chan error, 1)
	go func() { answered <- pg.Exec(short, "a-b", "SELECT 1") }()
	<-short.Done()
	select {
	case err := <-answered:
		if err == nil {
			t.Error("a frozen server answers")
		}
	default: // still waiting, as one does for a frozen server
	}
	must(pg.Resume())
	must(pg.Restart(ctx))
	must(pg.Exec(ctx, "a-b", "SELECT * FROM t"))
	must(pg.Kill())
	if pg.Exec(ctx, "a-b", "SELECT 1") == nil {
		t.Error("a killed server answers")
	}
	must(pg.Start(ctx))
	if pg.Start(ctx) == nil {
		t.Error("started twice")
	}
	must(pg.Stop())
	must(pg.Stop())
	if pg.Pause() == nil {
		t.Error("a stopped server can be frozen")
	}
}

func TestDatabasesOfTestsAreTheirOwn(t *testing.T) {
	if a, b := schematest.NewDatabase(t), schematest.NewDatabase(t); a == b {
		t.Errorf("both are %s", a)
	}
}

func TestStartFailsInAFolderThatIsNotThere(t *testing.T) {
	if pg, err := schematest.StartPostgres(t.Context(), os.TempDir()+"/there/is/no/such",
		schematest.Options{}); err == nil {
		t.Errorf("no error; its end: %v", pg.Stop())
	}
}
