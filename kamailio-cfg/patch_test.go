package kamailiocfg_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	kamailiocfg "imcd/kamailio-cfg"
)

// stockFile is where Debian's package puts its configuration.
const stockFile = "/etc/kamailio/kamailio.cfg"

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
	data, err := os.ReadFile(stockFile)
	if err != nil {
		t.Fatalf("the stock configuration of Debian's package: %v", err)
	}
	text := string(data)
	for _, diff := range diffs {
		if text, err = applyDiff(text, diff); err != nil {
			t.Fatal(err)
		}
	}
	return text
}

// applyDiff applies a unified diff; a hunk must fit in exactly one place.
func applyDiff(text, diff string) (string, error) {
	hunks := strings.Split(diff, "\n@@")[1:]
	if len(hunks) == 0 {
		return "", fmt.Errorf("no hunk in %q", diff)
	}
	for _, hunk := range hunks {
		var before, after strings.Builder
		for _, line := range strings.SplitAfter(hunk, "\n")[1:] {
			switch {
			case line == "":
			case line[0] == '-':
				before.WriteString(line[1:])
			case line[0] == '+':
				after.WriteString(line[1:])
			default: // editors strip the blank that begins an empty line
				line = strings.TrimPrefix(line, " ")
				before.WriteString(line)
				after.WriteString(line)
			}
		}
		if n := strings.Count(text, before.String()); n != 1 {
			return "", fmt.Errorf("%d places for the hunk\n%s", n, hunk)
		}
		text = strings.Replace(text, before.String(), after.String(), 1)
	}
	return text, nil
}
