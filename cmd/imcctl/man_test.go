package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestMan: every command has a page, and two builds give the same pages.
func TestMan(t *testing.T) {
	env := []string{"SOURCE_DATE_EPOCH=86400"}
	var pages [2]map[string]string
	for i := range pages {
		dir := t.TempDir()
		var out bytes.Buffer
		if code := run([]string{"man", dir}, env, nil, &out, &out); code != exitOK {
			t.Fatalf("exit code %d: %s", code, &out)
		}
		pages[i] = readAll(t, dir)
	}
	tool := (&tool{}).command()
	checkPages(t, tool, pages[0])
	if main := pages[0]["imcctl.1"]; !strings.Contains(main, "Jan 1970") || !strings.Contains(main, "secret") {
		t.Errorf("imcctl.1:\n%s", main)
	}
	for name, text := range pages[0] {
		if pages[1][name] != text {
			t.Errorf("%s differs the second time", name)
		}
	}
}

func checkPages(t *testing.T, c *cobra.Command, pages map[string]string) {
	if name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"; !strings.Contains(pages[name], ".TH") {
		t.Errorf("there is no page %s", name)
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			checkPages(t, sub, pages)
		}
	}
}

func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string, len(files))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(file)] = string(text)
	}
	return all
}

func TestManErrors(t *testing.T) {
	for name, c := range map[string]struct{ dir, epoch, names string }{
		"no directory": {"/does/not/exist", "1", "/does/not/exist"},
		"bad date":     {t.TempDir(), "yesterday", "SOURCE_DATE_EPOCH"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			code := run([]string{"man", c.dir}, []string{"SOURCE_DATE_EPOCH=" + c.epoch}, nil, &out, &out)
			if code != exitError || !strings.Contains(out.String(), c.names) {
				t.Errorf("exit code %d: %s", code, &out)
			}
		})
	}
}
