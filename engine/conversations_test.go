package engine

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEachHasAConversation: testdata/conversations, which are played on both databases and on a fleet, show of each
// command and each setting that it is done, and that it is refused to who may not.
func TestEachHasAConversation(t *testing.T) {
	files, err := filepath.Glob("../testdata/conversations/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	line := regexp.MustCompile(`(?m)^\w+ to \S+: #(\w+) ?(\w*)(.*)\n\s+= (\d+)`)
	answers := make(map[string]string) // by command, and "set name": the codes of the answers
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range line.FindAllStringSubmatch(string(text), -1) {
			name, code := strings.ToLower(m[1]), m[4]+" "
			answers[name] += code
			if name == "set" && m[3] != "" {
				answers["set "+strings.ToLower(m[2])] += code
			}
		}
	}
	refused := regexp.MustCompile(`40[34] `)
	for _, c := range commandTable() {
		for _, name := range c.names {
			if !strings.Contains(answers[name], "200 ") {
				t.Errorf("no conversation has #%s answered 200", name)
			}
			if c.need != needNobody && !refused.MatchString(answers[name]) {
				t.Errorf("no conversation has #%s refused", name)
			}
		}
	}
	for _, s := range settingsTable {
		if got := answers["set "+s.name]; !strings.Contains(got, "200 ") || !strings.Contains(got, "403 ") {
			t.Errorf("#set %s is answered %s, want 200 and 403", s.name, got)
		}
	}
}
