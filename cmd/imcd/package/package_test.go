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
	"imcd/evapi/evapitest/kit"
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

// TestInstances: the unit of further imcd differs from that of the first one by what two on one host may not share.
func TestInstances(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(kit.Context(t), "bash", "-c", `. cmd/imcd/package/lib.sh; instances "$0"`, dir)
	cmd.Dir = "../../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	path := filepath.Join(dir, "imcd@.service")
	first, more := readUnit(t, "imcd.service"), readUnit(t, path)
	for key := range first {
		differs := key == "Description" || key == "ExecStart" || key == "StateDirectory"
		if (first[key] != more[key]) != differs || len(first) != len(more) {
			t.Errorf("%s is %q and %q", key, first[key], more[key])
		}
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(strings.ReplaceAll(more["ExecStart"], "%i", "2"))
	args := append(words[1:], "--evapi_secret_file", secret, "--rpc_token_file", secret)
	flags := pflag.NewFlagSet("imcd", pflag.ContinueOnError)
	file := flags.StringP("config", "c", "", "")
	config.AddFlags(flags)
	if err := flags.Parse(args); err != nil || *file != "/etc/imcd/imcd.yaml" {
		t.Fatalf("%q: %v", args, err)
	}
	cfg, err := config.Load(config.Sources{File: "imcd.yaml", Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.StateDir != "/var/lib/imcd-2" || more["StateDirectory"] != "imcd-%i" || cfg.RPC.Listen != "127.0.0.2:8449" ||
		cfg.HTTP.Listen != "127.0.0.2:8450" {
		t.Errorf("%s %s %s", cfg.StateDir, cfg.RPC.Listen, cfg.HTTP.Listen)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("make deps-test installs it: ", err)
	}
	instance := filepath.Join(dir, "imcd@2.service")
	text, err := os.ReadFile(path)
	if err == nil { // systemd wants the program to be there
		err = os.WriteFile(instance, []byte(strings.ReplaceAll(string(text), "/usr/bin/imcd", "/bin/true")), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(kit.Context(t), analyze, "verify", "--man=no", instance).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "imcd@2") {
			t.Errorf("systemd-analyze: %v %s", err, line)
		}
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
		if out, err := exec.CommandContext(kit.Context(t), shell, "-n", script).CombinedOutput(); err != nil {
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
