package kamailiocfg_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"imcd/evapi/evapitest/kit"
)

// operatingSection is what OPERATING.md has under a heading.
func operatingSection(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../cmd/imcd/OPERATING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("OPERATING.md has no section %q", heading)
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	return section
}

// explained are the words in backquotes in the first column of a section's table.
func explained(section string) map[string]bool {
	words := make(map[string]bool)
	for line := range strings.Lines(section) {
		if column, _, isRow := strings.Cut(strings.TrimPrefix(line, "| "), " |"); isRow {
			for _, m := range backquoted.FindAllStringSubmatch(column, -1) {
				words[m[1]] = true
			}
		}
	}
	return words
}

var (
	backquoted = regexp.MustCompile("`([^`{]+)(?:{[a-z,]+})?`")
	logged     = regexp.MustCompile(`\bMsg\("([^"]+)"\)`)
)

// checkExplained: OPERATING.md explains the metrics that a real imcd shows.
func checkExplained(t *testing.T, shown map[string]map[string]bool) {
	t.Helper()
	words := explained(operatingSection(t, "Metrics"))
	for name := range shown {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		if strings.HasPrefix(name, "imc_") && !words[name] {
			t.Errorf("OPERATING.md does not explain %s", name)
		}
	}
	source, err := os.ReadFile("../engine/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	for name := range words {
		// What nothing was counted in yet is not shown.
		if shown[name] == nil && shown[name+"_bucket"] == nil && !strings.Contains(string(source), `"`+name+`"`) {
			t.Errorf("OPERATING.md explains %s, which is not there", name)
		}
	}
}

// forTests reports whether only tests use a file.
func forTests(path string) bool {
	return strings.HasSuffix(path, "_test.go") || strings.Contains(path, "test/")
}

// TestLogLinesAreExplained: OPERATING.md has exactly the lines that imcd can log.
func TestLogLinesAreExplained(t *testing.T) {
	words := explained(operatingSection(t, "Lines of the log"))
	there := make(map[string]bool)
	for _, dir := range []string{"../cmd/imcd", "../engine", "../evapi", "../schema"} {
		kit.GoFiles(t, dir, func(path string, text []byte) {
			if forTests(path) {
				return
			}
			for _, m := range logged.FindAllStringSubmatch(string(text), -1) {
				there[m[1]] = true
			}
		})
	}
	for line := range there {
		if !words[line] {
			t.Errorf("OPERATING.md does not explain %q", line)
		}
	}
	for line := range words {
		if !there[line] {
			t.Errorf("OPERATING.md explains %q, which nothing logs", line)
		}
	}
}
