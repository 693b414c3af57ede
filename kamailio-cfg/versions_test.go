package kamailiocfg_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
)

// TestNewerKamailio: a Kamailio that imc.cfg does not know as an older one has evapi's
// timeouts set, which this one refuses to know; see TestCheck for this one.
func TestNewerKamailio(t *testing.T) {
	imc := kamailiocfg.File(kamailiocfg.IMC)
	lines := regexp.MustCompile(`modparam\("evapi", "send_(task|data)_timeout", ([0-9]+)\)`).FindAllStringSubmatch(imc,
		-1)
	if len(lines) != 2 || lines[0][2] == "0" || lines[1][2] == "0" {
		t.Fatalf("imc.cfg sets %q", lines)
	}
	if out, err := kamailioSays(t, imc); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// This Kamailio defines names like KAMAILIO_5_6; a newer one has other names.
	newer := regexp.MustCompile(`KAMAILIO_[56]_[0-9]`).ReplaceAllString(imc, "NOT_$0")
	newer = strings.ReplaceAll(newer, "msg_recv_max_size=65536\n", "")
	out, err := kamailioSays(t, newer)
	if err == nil || !strings.Contains(out, "send_task_timeout") {
		t.Errorf("a newer Kamailio would not have the timeouts: %v\n%s", err, out)
	}
}

// kamailioSays lets Kamailio check the stock configuration with an include.
func kamailioSays(t *testing.T, imc string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	config := stockConfig(t, readmeDiffs(t)...)
	files := kamailiocfg.DropIn()
	files["kamailio.cfg"], files[kamailiocfg.IMC] = config, imc
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := cmp.Or(os.Getenv("IMCD_TEST_KAMAILIO"), "kamailio")
	cmd := exec.CommandContext(kit.Context(t), program, "-c", "-f", "kamailio.cfg")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}
