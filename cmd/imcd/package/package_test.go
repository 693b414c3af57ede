package debpackage

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"imcd/cmd/imcd/internal/config"
)

// TestConfig: imcd takes the configuration that is installed, and it agrees with
// the unit.
func TestConfig(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("imcd", pflag.ContinueOnError)
	config.AddFlags(flags)
	if err := flags.Parse([]string{"--evapi_secret_file", secret, "--rpc_token_file", secret}); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Sources{File: "imcd.yaml", Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	unit := readUnit(t, "imcd.service")
	if want := "/var/lib/" + unit["StateDirectory"]; cfg.StateDir != want || cfg.DB.URL != "sqlite://"+want+"/imcd.db" {
		t.Errorf("state_dir %s and database %s, want both in %s", cfg.StateDir, cfg.DB.URL, want)
	}
	if unit["ExecStart"] != "/usr/bin/imcd -c /etc/imcd/imcd.yaml" || unit["Type"] != "notify" {
		t.Errorf("unit %v", unit)
	}
	if limit, err := time.ParseDuration(unit["WatchdogSec"]); err != nil || limit < 10*time.Second ||
		unit["Restart"] != "on-failure" {
		t.Errorf("WatchdogSec=%s Restart=%s: %v", unit["WatchdogSec"], unit["Restart"], err)
	}
	conffiles, err := os.ReadFile("debian/conffiles")
	if err != nil || strings.TrimSpace(string(conffiles)) != "/etc/imcd/imcd.yaml" {
		t.Errorf("conffiles %q %v", conffiles, err)
	}
}

// TestScripts: the shells take the scripts.
func TestScripts(t *testing.T) {
	for _, script := range []string{"debian/postinst", "debian/prerm", "debian/postrm", "deb.sh", "dist.sh", "e2e.sh",
		"lib.sh"} {
		shell := "sh"
		if strings.HasSuffix(script, ".sh") {
			shell = "bash"
		}
		if out, err := exec.CommandContext(t.Context(), shell, "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
}

// readUnit reads the settings of a unit; of one that is there twice, the last.
func readUnit(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	settings := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			settings[key] = value
		}
	}
	return settings
}
