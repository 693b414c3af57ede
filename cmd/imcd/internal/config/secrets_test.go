package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestCredentials: what systemd hands over counts where nothing else is said.
func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"evapi_secret": "from-systemd\n", "db_url": "postgres://u:hunter2@h/d\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	given := CredentialsEnv + "=" + dir
	c, err := load(t, Sample(), []string{given})
	if err != nil {
		t.Fatal(err)
	}
	if c.Kamailios[0].Secret != "from-systemd" || c.DB.URL != "postgres://u:hunter2@h/d" {
		t.Errorf("secret %q, db_url %q", c.Kamailios[0].Secret, c.DB.URL)
	}
	if c, err = load(t, "", []string{given, "IMCD_EVAPI_SECRET=own", "DB_URL=sqlite://x"}); err != nil {
		t.Fatal(err)
	}
	if c.Kamailios[0].Secret != "own" || c.DB.URL != "sqlite://x" {
		t.Errorf("what is said elsewhere gives way: secret %q, db_url %q", c.Kamailios[0].Secret, c.DB.URL)
	}
	if _, err = load(t, "", []string{CredentialsEnv + "=" + t.TempDir(), secretEnv}); err != nil {
		t.Errorf("an empty directory of credentials: %v", err)
	}
}

// TestBothSecretAndFile: every secret can stand in a file, but not in two places.
func TestBothSecretAndFile(t *testing.T) {
	for _, k := range keys() {
		if k.secret == nil {
			continue
		}
		if !isKey(k.name + "_file") {
			t.Errorf("%s has no %s_file", k.name, k.name)
		}
		_, err := load(t, k.name+": 'hunter2'\n"+k.name+"_file: x\n", []string{secretEnv})
		checkError(t, err, k.name+"_file", "imcd.yaml")
	}
}

func TestWarnings(t *testing.T) {
	open, closed := write(t, "open", "hunter2\n"), write(t, "closed", "hunter2\n")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file string
		want int
	}{
		{"evapi_secret_file: " + open, 1},
		{"evapi_secret_file: " + closed, 0},
		{"evapi: [{addr: 'a:1', secret_file: " + open + "}]", 1},
	} {
		got, err := load(t, c.file, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Warnings) != c.want || strings.Contains(strings.Join(got.Warnings, ""), "hunter2") {
			t.Errorf("%s: warnings %q", c.file, got.Warnings)
		}
	}
	for text, want := range map[string]int{"evapi_secret: hunter2": 1, "hash_size: 3": 0, "db_url: sqlite://x.db": 0} {
		path := write(t, "imcd.yaml", text)
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := Load(Sources{File: path, Environ: []string{`IMCD_EVAPI=[{addr: "a:1", secret: x}]`}})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Warnings) != want {
			t.Errorf("%s: warnings %q", text, got.Warnings)
		}
	}
}

func TestSecretFlags(t *testing.T) {
	fs := pflag.NewFlagSet("imcd", pflag.ContinueOnError)
	AddFlags(fs)
	err := fs.Parse([]string{"--evapi_secret=a", "--db_url", "postgres://u:p@h/d", "--hash_size=3",
		"--evapi=[{addr: 'a:1', secret: b}]", "--evapi_secret_file=x"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"evapi_secret": "IMCD_EVAPI_SECRET=a", "db_url": "IMCD_DB_URL=postgres://u:p@h/d",
		"evapi": "IMCD_EVAPI=[{addr: 'a:1', secret: b}]"}
	if got := SecretFlags(fs); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	fs = pflag.NewFlagSet("imcd", pflag.ContinueOnError)
	AddFlags(fs)
	if err := fs.Parse([]string{"--db_url=sqlite://x", "--evapi=a:1"}); err != nil {
		t.Fatal(err)
	}
	if got := SecretFlags(fs); len(got) != 0 {
		t.Errorf("these are no secrets: %v", got)
	}
}
