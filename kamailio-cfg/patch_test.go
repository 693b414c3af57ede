package kamailiocfg_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	kamailiocfg "imcd/kamailio-cfg"
)

// stockFile is where Debian's package puts its configuration; IMCD_TEST_STOCK
// names that of another Kamailio.
func stockFile() string { return cmp.Or(os.Getenv("IMCD_TEST_STOCK"), "/etc/kamailio/kamailio.cfg") }

var diffBlock = regexp.MustCompile("(?ms)^```diff\n(.*?)^```$")

// readmeDiffs are the diffs that README.md shows, in their order: the two edits,
// and the optional third.
func readmeDiffs(t *testing.T) []string {
	t.Helper()
	var diffs []string
	for _, m := range diffBlock.FindAllStringSubmatch(kamailiocfg.File(kamailiocfg.Readme), -1) {
		diffs = append(diffs, m[1])
	}
	if len(diffs) != 2 {
		t.Fatalf("README.md shows %d diffs", len(diffs))
	}
	return diffs
}

// stockConfig is the package's own file with the README's diffs applied.
func stockConfig(t *testing.T, diffs ...string) string {
	t.Helper()
	data, err := os.ReadFile(stockFile())
	if err != nil {
		t.Fatalf("the stock configuration of Debian's package: %v", err)
	}
	text := string(data)
	for _, diff := range diffs {
		text = applyDiff(t, text, diff)
	}
	return text
}

// applyDiff applies a unified diff as the README says.
func applyDiff(t *testing.T, text, diff string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kamailio.cfg")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(testContext(t), "patch", "--batch", file)
	cmd.Stdin = strings.NewReader(diff)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("patch: %v\n%s\n%s", err, out, diff)
	}
	patched, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(patched)
}
