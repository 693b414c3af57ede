package kamailiocfg_test

import (
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// readmeDiffs are the diffs that README.md shows, in their order: the two edits
// without which nothing works, and the third.
func readmeDiffs(t *testing.T) []string {
	t.Helper()
	diffs, err := evapitest.ReadmeDiffs()
	if err != nil {
		t.Fatal(err)
	}
	return diffs
}

// stockConfig is the package's own file with the README's diffs applied.
func stockConfig(t *testing.T, diffs ...string) string {
	t.Helper()
	text, err := evapitest.StockConfig(kit.Context(t), diffs...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
