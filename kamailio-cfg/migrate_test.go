package kamailiocfg_test

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// moduleLines load the imc module and moduleCall uses it, as its documentation
// shows, in Debian's stock file. From 5.7 on the module uses the database only with
// modeLine.
const (
	moduleLines = `loadmodule "db_postgres.so"
loadmodule "imc.so"
modparam("imc", "db_url", "%s")
modparam("imc", "outbound_proxy", "sip:%s")
modparam("imc", "imc_cmd_start_char", "/")
`
	modeLine   = "modparam(\"imc\", \"db_mode\", 2)\n"
	moduleCall = `	if (is_method("MESSAGE") && $rU=~"^chat-") {
		if (imc_manager()) sl_send_reply("200", "OK");
		else sl_send_reply("403", "Refused");
		exit;
	}
`
)

// migration is a host whose rooms go from the module to imcd and back, by the
// steps of README.md and nothing else.
type migration struct {
	dir        string // programs, kamailio.cfg before the move, imcd.yaml
	url        string // of the one database
	config     string // kamailio.cfg with the module
	lines      string // in it: what loads the module
	sip, evapi int    // ports, the same all the time
	alice, bob *evapitest.UA
	noted      map[string][]string // room URI: members, as the module had them
	owners     map[string]string   // room URI: its owner there
}

func newMigration(t *testing.T) *migration {
	t.Helper()
	ports, err := evapitest.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	m := &migration{dir: programs.Folder(t), sip: ports[0], evapi: ports[1]}
	m.url, _, _ = strings.Cut(schematest.NewDatabase(t), "?")
	var tables strings.Builder
	for _, name := range []string{"standard-create.sql", "imc-create.sql"} {
		text, err := os.ReadFile("/usr/share/kamailio/postgres/" + name)
		if err != nil {
			t.Fatalf("Kamailio's PostgreSQL scripts: %v", err)
		}
		tables.Write(text)
	}
	if err := schematest.Server(t).Exec(kit.Context(t), m.url[strings.LastIndexByte(m.url, '/')+1:],
		tables.String()); err != nil {
		t.Fatal(err)
	}
	const head, auth = "####### Routing Logic ########\n", "\troute(AUTH);\n"
	stock := stockConfig(t)
	if !strings.Contains(stock, head) || !strings.Contains(stock, auth) {
		t.Fatal("the stock file is another than this test knows")
	}
	m.lines = fmt.Sprintf(moduleLines, m.url, m.addr())
	version, err := evapitest.KamailioVersion(kit.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if version >= 50700 {
		m.lines += modeLine
	}
	m.config = strings.Replace(stock, head, m.lines+head, 1)
	m.config = strings.Replace(m.config, auth, auth+moduleCall, 1)
	if err := os.WriteFile(m.file("kamailio.cfg"), []byte(m.config), 0o600); err != nil {
		t.Fatal(err)
	}
	// What evapitest gives has -N, for the processes of TCP.
	start := fmt.Sprintf("#!/bin/sh\nexec %s -f kamailio.cfg -DD -E -n 1 -m 64 -w . -Y .\n",
		cmp.Or(os.Getenv("IMCD_TEST_KAMAILIO"), "kamailio"))
	if err := os.WriteFile(m.file("udp-only"), []byte(start), 0o700); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *migration) addr() string            { return fmt.Sprint("127.0.0.1:", m.sip) }
func (m *migration) file(name string) string { return filepath.Join(m.dir, name) }

// tool runs imcd or imcctl, which must succeed.
func (m *migration) tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(kit.Context(t), m.file(name), args...)
	cmd.Env = imcdtest.Environ()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// withModule runs use on Kamailio with imc.so, and ends Kamailio. It speaks no TCP:
// its processes for that hang at times when 5.6 ends, and the module then does not
// write its rooms. The ports that evapitest waits for are held here instead.
func (m *migration) withModule(t *testing.T, use func(*evapitest.Kamailio)) {
	t.Helper()
	for _, port := range []int{m.sip, m.evapi} {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	k := kit.Kamailio(t, evapitest.Options{Config: m.config, SIPPort: m.sip, EvapiPort: m.evapi,
		Program: m.file("udp-only"),
		Files: map[string]string{"kamailio-local.cfg": fmt.Sprintf("disable_tcp=yes\nlisten=udp:%s\n"+
			"alias=\"chat.test\"\n", m.addr())}})
	m.register(t, k)
	use(k)
	if err := k.Halt(); err != nil {
		t.Fatal(err)
	}
}

// register makes alice and bob known to a Kamailio that has just been started.
func (m *migration) register(t *testing.T, k *evapitest.Kamailio) {
	t.Helper()
	if m.alice == nil {
		m.alice = kit.UA(t, evapitest.UAConfig{User: "alice", Domain: "chat.test", Proxy: k.SIPAddr()})
		m.bob = kit.UA(t, evapitest.UAConfig{User: "bob", Domain: "chat.test", Proxy: k.SIPAddr()})
	}
	for _, u := range []*evapitest.UA{m.alice, m.bob} {
		if err := u.Register(kit.Context(t)); err != nil {
			t.Fatal(err)
		}
	}
}

// hears sends a text from one to the other through the room.
func hears(t *testing.T, from, to *evapitest.UA, text string) {
	t.Helper()
	expect(t, say(t, from, "sip:chat-1@chat.test", text), 200)
	_, err := to.Wait(kit.Context(t), func(all []evapitest.Received) bool {
		for _, r := range all {
			if strings.HasSuffix(r.Text(), text) {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Fatalf("%q did not arrive: %v", text, err)
	}
}

// kamcmd asks a running Kamailio.
func (m *migration) kamcmd(t *testing.T, k *evapitest.Kamailio, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(kit.Context(t), "kamcmd", append([]string{"-s", filepath.Join(k.Dir(), "kamailio_ctl")},
		args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

var (
	roomAndOwner = regexp.MustCompile(`room: (\S+)\s+members: \d+\s+owner: (\S+)`)
	memberURI    = regexp.MustCompile(`sip:[a-z]+@chat\.test`)
)

// note asks the module who is in which room, as the README says: on PostgreSQL it
// writes each user in one room only when it ends.
func (m *migration) note(t *testing.T, k *evapitest.Kamailio) {
	t.Helper()
	m.noted, m.owners = make(map[string][]string), make(map[string]string)
	for _, found := range roomAndOwner.FindAllStringSubmatch(m.kamcmd(t, k, "imc.list_rooms"), -1) {
		room := found[1]
		m.owners[room] = found[2]
		m.noted[room] = memberURI.FindAllString(strings.ReplaceAll(m.kamcmd(t, k, "imc.list_members", room), room, ""),
			-1)
	}
	if len(m.noted) != 2 {
		t.Fatalf("the module has the rooms %v", m.noted)
	}
}

// addMissing gives imcd the members whom the tables do not have.
func (m *migration) addMissing(t *testing.T, i *imcdtest.Imcd) {
	t.Helper()
	for room, users := range m.noted {
		there := m.tool(t, "imcctl", "--rpc", i.RPCAddr(), "members", room)
		for _, user := range users {
			role := "member"
			if user == m.owners[room] {
				role = "owner"
			}
			if !strings.Contains(there, user) {
				m.tool(t, "imcctl", "--rpc", i.RPCAddr(), "add", room, user, "--role", role)
			}
		}
	}
}

var newSecret = regexp.MustCompile(`(?m)put +(#!define IMC_SECRET "([^"]+)") +into imc-local\.cfg`)

// withImcd does what "Moving from imc.so" says and runs use.
func (m *migration) withImcd(t *testing.T, use func(*evapitest.Kamailio, *imcdtest.Imcd)) {
	t.Helper()
	if err := os.Remove(m.file("imcd.yaml")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	m.tool(t, "imcctl", "import-cfg", m.file("kamailio.cfg"), "-o", m.file("imcd.yaml"))
	made, err := os.ReadFile(m.file("imcd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	secret := newSecret.FindStringSubmatch(string(made))
	if secret == nil {
		t.Fatalf("no line for imc-local.cfg in\n%s", made)
	}
	// Here, evapi's port is another one than IMC_EVAPI_BIND has by default.
	made = []byte(strings.Replace(string(made), "127.0.0.1:8448", fmt.Sprint("127.0.0.1:", m.evapi), 1))
	if err := os.WriteFile(m.file("imcd.yaml"), made, 0o600); err != nil {
		t.Fatal(err)
	}
	m.tool(t, "imcd", "-check", "-c", m.file("imcd.yaml"))

	text := strings.Replace(m.config, m.lines, "", 1)
	text = strings.Replace(text, moduleCall, "", 1)
	for _, diff := range readmeDiffs(t) {
		var err error
		if text, err = evapitest.ApplyDiff(kit.Context(t), text, diff); err != nil {
			t.Fatal(err)
		}
	}
	k := kit.Kamailio(t, evapitest.Options{Config: text, SIPPort: m.sip, EvapiPort: m.evapi,
		Local: "alias=\"chat.test\"\n",
		Files: map[string]string{"imc-local.cfg": fmt.Sprintf("%s\n#!define IMC_EVAPI_BIND \"127.0.0.1:%d\"\n",
			secret[1], m.evapi)}})
	i := imcdtest.Run(t, imcdtest.Options{Dir: m.dir, Evapi: k.EvapiAddr(), Secret: secret[2],
		Args: []string{"-c", m.file("imcd.yaml")}})
	if err := i.AwaitReady(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	m.register(t, k)
	use(k, i)
	if err := i.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := k.Halt(); err != nil {
		t.Fatal(err)
	}
}

// TestMigration: a room that users made in imc.so lives on in imcd, with
// "import-cfg" and the README's edits, and in imc.so again after the way back.
func TestMigration(t *testing.T) {
	m := newMigration(t)
	m.withModule(t, func(k *evapitest.Kamailio) {
		for _, room := range []string{"chat-1", "chat-2"} {
			expect(t, say(t, m.alice, "sip:"+room+"@chat.test", "/create "+room), 200)
			expect(t, say(t, m.bob, "sip:"+room+"@chat.test", "/join "+room), 200)
		}
		hears(t, m.alice, m.bob, "in the module")
		m.note(t, k)
	})
	m.withImcd(t, func(k *evapitest.Kamailio, i *imcdtest.Imcd) {
		m.tool(t, "imcctl", "check", "-c", m.file("imcd.yaml"), "--rpc", i.RPCAddr(), "--sip", k.SIPAddr())
		m.addMissing(t, i)
		hears(t, m.bob, m.alice, "in imcd")
		dave := kit.Registered(t, k, evapitest.UAConfig{User: "dave", Domain: "chat.test"})
		expect(t, say(t, dave, "sip:chat-1@chat.test", "/join"), 200)
		expect(t, say(t, m.bob, "sip:chat-1@chat.test", "/destroy"), 403)
		expect(t, say(t, m.alice, "sip:chat-1@chat.test", "/remove bob"), 200)
		m.useExtras(t, i)
	})
	m.withModule(t, func(k *evapitest.Kamailio) {
		dave := kit.Registered(t, k, evapitest.UAConfig{User: "dave", Domain: "chat.test"})
		hears(t, m.alice, dave, "in the module again")
		hears(t, dave, m.alice, "it is the same room")
		expect(t, say(t, m.bob, "sip:chat-1@chat.test", "may I?"), 403)
	})
	m.withImcd(t, func(k *evapitest.Kamailio, i *imcdtest.Imcd) {
		shown := strings.Join(strings.Fields(m.tool(t, "imcctl", "--rpc", i.RPCAddr(), "set", "chat-1@chat.test")), " ")
		for name, value := range extras {
			if name == "key" {
				value = "on"
			}
			if !strings.Contains(shown, name+" "+value) {
				t.Errorf("after the module, %s is not %s any more:\n%s", name, value, shown)
			}
		}
		dave := kit.Registered(t, k, evapitest.UAConfig{User: "dave", Domain: "chat.test"})
		expect(t, say(t, dave, "sip:chat-1@chat.test", "I am muted"), 403)
		expect(t, say(t, m.bob, "sip:chat-1@chat.test", "/join chat-1 Rosebud"), 403) // banned
		text := m.tool(t, "imcctl", "--rpc", i.RPCAddr(), "history", "chat-1@chat.test")
		if strings.Contains(text, "in imcd") {
			t.Errorf("a deleted message is there again: %s", text)
		}
	})
}

// extras are settings that the module does not know.
var extras = map[string]string{"title": "Garden", "topic": "Roses", "key": "Rosebud", "invite": "members", "limit": "9",
	"history": "3", "keep": "7d", "idle": "90d", "joins": "off", "typing": "off", "receipts": "off"}

// useExtras uses what imcd has and the module has not.
func (m *migration) useExtras(t *testing.T, i *imcdtest.Imcd) {
	t.Helper()
	ask := func(args ...string) { m.tool(t, "imcctl", append([]string{"--rpc", i.RPCAddr()}, args...)...) }
	for name, value := range extras {
		ask("set", "chat-1@chat.test", name, value)
	}
	ask("delete", "chat-1@chat.test", "1")
	ask("moderate", "chat-1@chat.test", "mute", "dave")
	ask("moderate", "chat-1@chat.test", "ban", "bob")
	ask("moderate", "chat-1@chat.test", "voice", "alice")
	ask("moderate", "chat-1@chat.test", "warn", "dave", "quiet")
}
