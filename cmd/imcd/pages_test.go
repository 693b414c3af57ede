package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	pageLink    = regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]*))?\)`)
	pageHeading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	namedFile   = regexp.MustCompile("`([a-z_A-Z0-9/-]+\\.(?:go|cfg|md|txt|yaml))`")
	anchorDrops = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names under which a page's headings can be linked.
func anchors(page string) map[string]bool {
	all := make(map[string]bool)
	for _, m := range pageHeading.FindAllStringSubmatch(page, -1) {
		name := anchorDrops.ReplaceAllString(strings.ToLower(m[1]), "")
		all[strings.ReplaceAll(name, " ", "-")] = true
	}
	return all
}

// TestPages: the links of all pages lead somewhere, and the files that the developer's page names are there.
func TestPages(t *testing.T) {
	const root = "../.."
	var pages []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range pageLink.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, linked := filepath.Join(filepath.Dir(page), m[1]), text
			if m[1] != "" {
				if linked, err = os.ReadFile(file); err != nil {
					t.Errorf("%s: %v", page, err)
					continue
				}
			}
			if m[2] != "" && !anchors(string(linked))[m[2]] {
				t.Errorf("%s: %s has no heading #%s", page, m[1], m[2])
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "engine/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range namedFile.FindAllStringSubmatch(string(text), -1) {
		found := false
		for _, dir := range []string{"engine", "kamailio-cfg", "cmd/imcd/internal/config", "cmd/imcd/internal/rpc", ""} {
			if _, err := os.Stat(filepath.Join(root, dir, m[1])); err == nil {
				found = true
			}
		}
		if !found {
			t.Errorf("engine/README.md names %s, which is not there", m[1])
		}
	}
}
