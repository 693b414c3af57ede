package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq" // for dropping a table behind imcd's back

	"imcd/cmd/imcd/check"
	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
	"imcd/schema/schematest"
)

// site is an installation that is checked.
type site struct {
	t       *testing.T
	k       *evapitest.Kamailio
	imcd    *imcdtest.Imcd    // nil if it does not run
	environ map[string]string // of imcd and of the check
}

// newSite starts a Kamailio; imcd is started by startImcd.
func newSite(t *testing.T, opts evapitest.Options) *site {
	t.Helper()
	k := kit.Kamailio(t, opts)
	ports, err := evapitest.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t: t, k: k, environ: map[string]string{
		"IMCD_EVAPI": k.EvapiAddr(), "IMCD_EVAPI_SECRET": k.Secret(), "IMCD_STATE_DIR": t.TempDir(),
		"IMCD_RPC_LISTEN": fmt.Sprint("127.0.0.1:", ports[0]),
	}}
}

// set changes a setting.
func (s *site) set(name, value string) *site {
	s.environ[name] = value
	return s
}

func (s *site) startImcd(args ...string) *site {
	s.t.Helper()
	opts := imcdtest.Options{Dir: bin, Name: s.t.Name(), Evapi: s.k.EvapiAddr(), Secret: s.environ["IMCD_EVAPI_SECRET"],
		DBURL: s.environ["IMCD_DB_URL"], Args: append([]string{"--state_dir", s.environ["IMCD_STATE_DIR"]}, args...)}
	s.imcd = imcdtest.Run(s.t, opts)
	return s.set("IMCD_RPC_LISTEN", s.imcd.RPCAddr())
}

// check runs imcctl check and compares: each of want is "status check: words of
// the text or the remedy", of all others nothing may fail.
func (s *site) check(want ...string) {
	s.t.Helper()
	code, stdout, stderr := imcctl(s.environ, "check", "--json", "--sip", s.k.SIPAddr())
	var lines []check.Line
	if err := json.Unmarshal([]byte(stdout), &lines); err != nil || stderr != "" {
		s.t.Fatalf("exit code %d, output %q, error %q: %v", code, stdout, stderr, err)
	}
	fails := 0
	for _, w := range want {
		status, rest, _ := strings.Cut(w, " ")
		name, says, _ := strings.Cut(rest, ": ")
		if check.Status(status) == check.Fail {
			fails++
		}
		found := false
		for _, l := range lines {
			found = found || (string(l.Status) == status && strings.HasPrefix(l.Check, name) &&
				strings.Contains(l.Text+" "+l.Remedy, says))
			if l.Status == check.Fail && l.Remedy == "" {
				s.t.Errorf("no remedy: %+v", l)
			}
		}
		if !found {
			s.t.Errorf("%q is not among\n%s", w, table(lines))
		}
	}
	for _, l := range lines {
		if l.Status == check.Fail {
			fails--
		}
	}
	if fails != 0 || (code == exitError) != strings.Contains(strings.Join(want, "\n"), "FAIL") {
		s.t.Errorf("exit code %d; other failures than %q:\n%s", code, want, table(lines))
	}
}

func table(lines []check.Line) string {
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "  %s %s: %s. %s\n", l.Status, l.Check, l.Text, l.Remedy)
	}
	return b.String()
}

// demo is demo.cfg with changes; each must apply.
func demo(t *testing.T, replace ...string) string {
	t.Helper()
	text := kamailiocfg.File(kamailiocfg.Demo)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("demo.cfg has no %q", replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return text
}

var waysOpen = []string{"ok kamailio: accepted", "ok way out: 404", "ok way in: reached imcd"}

func TestCheckWell(t *testing.T) {
	s := newSite(t, evapitest.Options{}).startImcd()
	if err := s.imcd.AwaitReady(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	s.check(append([]string{"ok configuration: ", "ok database: imcd.db", "ok tables: all", "ok imcd: 0 rooms"},
		waysOpen...)...)
	// With a room of its own name, from a file, in lines.
	file := filepath.Join(t.TempDir(), "imcd.yaml")
	yaml := fmt.Sprintf("evapi: %s\nevapi_secret: %s\nstate_dir: %s\n", s.k.EvapiAddr(), s.k.Secret(),
		s.environ["IMCD_STATE_DIR"])
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := imcctl(nil, "create", "chat-lobby@example.org", "--rpc", s.imcd.RPCAddr()); code != 0 {
		t.Fatal(stderr)
	}
	code, stdout, stderr := imcctl(nil, "check", "-c", file, "--rpc", s.imcd.RPCAddr())
	if code != 0 || stderr != "" || !strings.Contains(stdout,
		"\nok    way in "+s.k.EvapiAddr()+": a request to sip:chat-lobby@example.org reached imcd") ||
		!strings.HasPrefix(stdout, "ok    configuration: "+file+"\n") {
		t.Errorf("exit code %d, error %q, output\n%s", code, stderr, stdout)
	}
	if strings.Contains(stdout, s.k.Secret()) {
		t.Error("the secret was printed")
	}
	// Nothing of it has reached a user or a metric.
	if _, stdout, _ := imcctl(nil, "room", "chat-lobby@example.org", "--rpc", s.imcd.RPCAddr()); !strings.Contains(stdout,
		"0 messages so far") {
		t.Errorf("the room has heard of the check:\n%s", stdout)
	}
}

// TestCheckBeforeStart: imcd does not run, and everything else is tried without it.
func TestCheckBeforeStart(t *testing.T) {
	s := newSite(t, evapitest.Options{})
	s.check(append([]string{"warn database: does not exist yet", "FAIL imcd: Start it"}, waysOpen...)...)
	s.set("IMCD_EVAPI_SECRET", "hunter2").check("FAIL imcd: Start it", "FAIL kamailio: evapi_secret is wrong")
	s.set("IMCD_EVAPI_SECRET", s.k.OperatorSecret()).check("FAIL imcd: Start it", "FAIL kamailio: IMC_OPERATOR_SECRET")
	s.set("IMCD_HASH_SIZE", "many").check("FAIL configuration: hash_size")
}

func TestCheckWrongSecret(t *testing.T) {
	newSite(t, evapitest.Options{}).set("IMCD_EVAPI_SECRET", "hunter2").startImcd().
		check("ok imcd: ", "FAIL kamailio: evapi_secret is wrong")
}

func TestCheckKamailioDown(t *testing.T) {
	s := newSite(t, evapitest.Options{}).startImcd()
	// On a busy machine imcd is connected some time after its start, and sees some time later that it is not.
	if err := s.imcd.AwaitReady(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.k.Halt(); err != nil {
		t.Fatal(err)
	}
	if err := s.imcd.Await(kit.Context(t), "/readyz", http.StatusServiceUnavailable); err != nil {
		t.Fatal(err)
	}
	s.check("ok imcd: ", "FAIL kamailio: it is not running")
}

func TestCheckNotIncluded(t *testing.T) {
	config := demo(t, "include_file \"imc.cfg\"\n", "", "\troute(IMC);\n", "", "\telse route(IMC_REGISTERED);\n", "",
		"\troute(IMC_DIALOG);\n", "")
	// evapitest waits for an evapi port, which this Kamailio does not have.
	stand, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, evapitest.Options{Config: config, EvapiPort: stand.Addr().(*net.TCPAddr).Port})
	if err := stand.Close(); err != nil {
		t.Fatal(err)
	}
	s.startImcd().check("ok imcd: ", "FAIL kamailio: imc.cfg is not included")
}

// TestCheckNotRouted: imc.cfg is there, and requests do not come to it.
func TestCheckNotRouted(t *testing.T) {
	newSite(t, evapitest.Options{Config: demo(t, "\troute(IMC);\n", "")}).startImcd().
		check("ok kamailio: ", "FAIL way in: Is route(IMC) in request_route")
}

func TestCheckChallenged(t *testing.T) {
	challenge := "\tif (is_method(\"MESSAGE\")) {\n\t\tappend_to_reply(\"Proxy-Authenticate: Digest realm=\\\"x\\\", " +
		"nonce=\\\"y\\\"\\r\\n\");\n" +
		"\t\tsl_send_reply(\"407\", \"Proxy Authentication Required\");\n\t\texit;\n\t}\n\troute(IMC);\n"
	newSite(t, evapitest.Options{Config: demo(t, "\troute(IMC);\n", challenge)}).startImcd().
		check("FAIL way out: asks for a password for what imcd sends", "warn way in: 407")
}

func TestCheckNextHop(t *testing.T) {
	s := newSite(t, evapitest.Options{})
	ports, err := evapitest.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	s.startImcd("--outbound_proxy", fmt.Sprint("sip:127.0.0.1:", ports[0]))
	s.check(fmt.Sprint("FAIL way out: next hop sip:127.0.0.1:", ports[0]), "ok way in: ")
}

// TestCheckOtherHop: the next hop is another Kamailio, where nobody may be registered.
func TestCheckOtherHop(t *testing.T) {
	other := newSite(t, evapitest.Options{})
	newSite(t, evapitest.Options{}).startImcd("--outbound_proxy", "sip:"+other.k.SIPAddr()).
		check("warn way out: which is not this Kamailio", "ok way in: ")
}

func TestCheckDatabase(t *testing.T) {
	pg := schematest.New(t, schematest.Options{})
	if err := pg.CreateDatabase("chat"); err != nil {
		t.Fatal(err)
	}
	url := pg.URL("chat")
	s := newSite(t, evapitest.Options{}).set("IMCD_DB_URL", url)
	s.check("FAIL tables: missing: version, imc_rooms, imc_members", "FAIL imcd: ")
	s.startImcd()
	s.check(append([]string{"ok database: ", "ok tables: ", "ok imcd: "}, waysOpen...)...)
	drop(t, url, "imc_members")
	s.check("ok database: ", "FAIL tables: missing: imc_members", "ok imcd: ")
	if err := pg.StopFast(); err != nil {
		t.Fatal(err)
	}
	// imcd notices when it wants to write; the check need not wait for that.
	s.check("FAIL database: Is the database server running", "ok imcd: ")
}

func drop(t *testing.T, url, table string) {
	t.Helper()
	db, err := sql.Open("postgres", url+"?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := db.ExecContext(ctx, "DROP TABLE "+table); err != nil {
		t.Fatal(err)
	}
}
