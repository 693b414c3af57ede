package schematest_test

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	_ "github.com/lib/pq"

	"imcd/schema/schematest"
)

// TestProxyFailsAsANetworkDoes: a statement on an open connection is delayed, held until the network is
// mended, or meets the connection's end, and so does a new connection.
func TestProxyFailsAsANetworkDoes(t *testing.T) {
	var atTheEnd sync.WaitGroup // by then the Proxy has ended
	t.Cleanup(atTheEnd.Wait)
	p := schematest.NewProxy(t, schematest.Server(t))
	db, err := sql.Open("postgres", schematest.Hosts("postgres", p)+"?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // nothing is left to do
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	open, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close() // maybe reset
	onBoth := func() [2]error {
		_, a := open.ExecContext(ctx, "SELECT 1")
		_, b := db.ExecContext(ctx, "SELECT 1")
		return [2]error{a, b}
	}
	const delay = 50 * time.Millisecond
	p.Pass(delay)
	began := time.Now()
	if errs := onBoth(); errs != [2]error{} || time.Since(began) < 4*delay {
		t.Errorf("slow: %v after %v", errs, time.Since(began))
	}
	p.Hold()
	done := make(chan [2]error, 1)
	go func() { done <- onBoth() }()
	select {
	case errs := <-done:
		t.Errorf("held: %v", errs)
	case <-time.After(delay):
	}
	p.Pass(0)
	if errs := <-done; errs != [2]error{} {
		t.Errorf("passed on again: %v", errs)
	}
	p.Reset()
	if errs := onBoth(); errs[0] == nil || errs[1] == nil {
		t.Errorf("reset: %v", errs)
	}
	p.Pass(0)
	if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
		t.Errorf("mended: %v", err)
	}
	p.Hold()
	atTheEnd.Go(func() { _, _ = db.ExecContext(t.Context(), "SELECT 1") })
}
