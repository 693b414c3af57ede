package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"imcd/evapi/evapitest/kit"
)

// TestThreatsNameTests: the tests that THREATS.md names exist, and every line of
// its tables names one.
func TestThreatsNameTests(t *testing.T) {
	text, err := os.ReadFile("THREATS.md")
	if err != nil {
		t.Fatal(err)
	}
	defined := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	kit.GoFiles(t, "../..", func(path string, code []byte) {
		if !strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, m := range declaration.FindAllStringSubmatch(string(code), -1) {
			defined[m[1]] = true
		}
	})
	name, lines := regexp.MustCompile(`\b(?:Test|Fuzz)\w+`), 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ca") {
			continue
		}
		lines++
		cells := strings.Split(strings.TrimSpace(line), "|")
		named := name.FindAllString(cells[len(cells)-2], -1)
		if len(named) == 0 {
			t.Errorf("no test is named: %s", line)
		}
		for _, n := range named {
			if !defined[n] {
				t.Errorf("there is no %s: %s", n, line)
			}
		}
	}
	if lines < 20 {
		t.Errorf("only %d lines were found", lines)
	}
}
