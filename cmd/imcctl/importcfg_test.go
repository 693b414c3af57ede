package main

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"imcd/cmd/imcctl/internal/kamcfg"
	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest/kit"
)

// imcLines are the lines of an operator, in Debian's stock file.
const imcLines = `
#!define CHATHOST "sip:chat.example.org:5070"
#!substdef "!OTHER!x!g"
loadmodule "imc.so"
modparam("imc", "db_url", DBURL)
modparam("imc", "db_mode", 2)
modparam("imc|msilo", "hash_size", 6)
modparam("imc", "imc_cmd_start_char", "/")
modparam("imc", "rooms_table", "chat_rooms")
modparam("imc", "outbound_proxy", CHATHOST)
modparam("imc", "extra_hdrs", "P-Chat: \"yes\"\r\nP-Flags: 3\r\n")
modparam("imc", "create_on_join", 0)
modparam("imc", "check_on_create", 5)
modparam("imc", "members_table", "too-long; DROP TABLE x")
modparam("imc", "colour", "blue")
`

// TestImportStock: Debian's own configuration with imc in it becomes an imcd.yaml
// that imcd takes and that says the same.
func TestImportStock(t *testing.T) {
	dir := t.TempDir()
	stock, err := os.ReadFile(cmp.Or(os.Getenv("IMCD_TEST_STOCK"), "/etc/kamailio/kamailio.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(stock), "####### Routing Logic ########", imcLines+"####### Routing Logic ########", 1)
	text += "\nroute[CHAT] {\n\timc_manager();\n}\n"
	// Debian's file names a MySQL server; the operator's own one comes first.
	local := "#!define DBURL \"postgres://kamailio:p%40ss@localhost/kamailio\"\n#!define IMC_SECRET \"hunter2hunter2\"\n"
	for name, content := range map[string]string{"kamailio.cfg": text, "kamailio-local.cfg": local} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "imcd.yaml")
	if code, stdout, stderr := imcctl(nil, "import-cfg", filepath.Join(dir, "kamailio.cfg"), "-o", out); code != 0 ||
		stdout+stderr != "" {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	made, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(kit.Context(t), filepath.Join(bin, "imcd"), "-check", "-c", out)
	cmd.Env = imcdtest.Environ()
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("imcd -check: %v: %s\n%s", err, said, made)
	}
	var got map[string]any
	if err := yaml.Unmarshal(made, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"db_url": "postgres://kamailio:p%40ss@localhost/kamailio", "db_mode": 2, "hash_size": 6, "imc_cmd_start_char": "/",
		"rooms_table": "chat_rooms", "outbound_proxy": "sip:chat.example.org:5070",
		"extra_hdrs":     "P-Chat: \"yes\"\r\nP-Flags: 3\r\n",
		"create_on_join": 0, "check_on_create": 1, "owner_leave": "refuse", "evapi_secret": "hunter2hunter2",
		"evapi":         "127.0.0.1:8448",
		"members_table": nil, "colour": nil,
	} {
		if got[key] != want {
			t.Errorf("%s is %v, not %v", key, got[key], want)
		}
	}
	for _, want := range []string{"# members_table (", "left out: must be letters", "# colour (",
		"no parameter that imcd knows; it was \"blue\"",
		"# db_mode: has no meaning here", "imc_manager() becomes route(IMC_MANAGER)", "loadmodule \"imc.so\" and its",
		"#!substdef is not followed here"} {
		if !strings.Contains(string(made), want) {
			t.Errorf("there is no %q in\n%s", want, made)
		}
	}
	if fi, err := os.Stat(out); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("others may read the secret: %v, %v", fi, err)
	}
	checkError(t, nil, []string{"import-cfg", filepath.Join(dir, "kamailio.cfg"), "-o", out}, exitError, "exists already")
}

func TestImportErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hidden := write("hidden.cfg", "#!ifdef WITH_IMC\nmodparam(\"imc\", \"db_url\", \"mysql://u:hunter2@h/d\")\n#!endif\n")
	checkError(t, nil, []string{"import-cfg", filepath.Join(dir, "none.cfg")}, exitError, "none.cfg")
	checkError(t, nil, []string{"import-cfg", hidden}, exitError, "give -A NAME")
	checkError(t, nil, []string{"import-cfg"}, exitUsage, "1 arg")
	code, stdout, stderr := imcctl(nil, "import-cfg", hidden, "-A", "WITH_IMC")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "# db_url (") || !strings.Contains(stdout,
		"copy --from 'mysql://u@h/d' -c imcd.yaml") || strings.Contains(stdout, "hunter2") {
		t.Errorf("exit code %d, %q\n%s", code, stderr, stdout)
	}
}

// FuzzImport: whatever the values are, the result is YAML that means them, or
// leaves them out.
func FuzzImport(f *testing.F) {
	f.Add("extra_hdrs", "A: \"b\"\r\n", "x")
	f.Add("db_url", "postgres://u:p@h/d\n# x", "a\nb: c")
	f.Add("imc_cmd_start_char", "\x00", "\u2028")
	f.Add("hash_size", "-0x7fffffff", "")
	f.Add("colour\nevapi: x", "1", "k.cfg")
	f.Fuzz(func(t *testing.T, name, value, file string) {
		made, err := imcdYAML(file, &kamcfg.Result{Params: []kamcfg.Param{{Name: name, Value: value, File: file, Line: 1}},
			Notes: []kamcfg.Note{{File: file, Line: 2, Text: value}}}, "s3cret")
		if err != nil {
			t.Fatalf("%q %q: %v", name, value, err)
		}
		var got map[string]any
		if err := yaml.Unmarshal(made, &got); err != nil || !utf8.Valid(made) {
			t.Fatalf("%q %q %q: %v\n%s", name, value, file, err, made)
		}
		if got["evapi_secret"] != "s3cret" || len(got) > 4 || len(got) == 4 && got[name] == nil {
			t.Errorf("%q %q %q:\n%s", name, value, file, made)
		}
		if s, ok := got[name].(string); ok && len(got) == 4 && name != "imc_cmd_start_char" && s != value {
			t.Errorf("%s became %q, was %q", name, s, value)
		}
	})
}
