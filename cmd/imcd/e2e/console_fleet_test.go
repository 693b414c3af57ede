package e2e

import (
	"testing"

	"imcd/cmd/internal/stack"
	"imcd/schema/schematest"
)

// TestConsoleShowsFleet: the console shows the imcd that share the database, and that one has ended.
func TestConsoleShowsFleet(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s := start(t, "", stack.Options{Binary: plain.Path(t), DBURL: url})
	b := openConsole(t, s)
	b.live()
	b.sees(`document.getElementById("engines").rows.length === 1 && !document.getElementById("fleet-panel").hidden`)
	b.must(`(row => row.includes("this one") && row.includes("64") && row.endsWith("owner"))(
		document.getElementById("engines").rows[0].textContent)`)
	second := start(t, "", stack.Options{Binary: plain.Path(t), DBURL: url, Beside: s, Spare: true})
	b.sees(`document.getElementById("engines").rows.length === 2`)
	if err := second.StopImcd(); err != nil {
		t.Fatal(err)
	}
	b.sees(`document.getElementById("engines").rows.length === 1`)
}
