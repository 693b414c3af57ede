// Package imcmodule runs a Kamailio with its own imc module on a database, for tests.
package imcmodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/child"
	"imcd/evapi/evapitest/kit"
)

// config is a Kamailio that runs its own imc module on a database. The
// module sends everything to one place, which answers 200. Without TCP: Kamailio's
// process for it sometimes hangs when Kamailio stops, and the module then never
// writes its rooms back.
const config = `
debug=2
log_stderror=yes
disable_tcp=yes
children=1
listen=udp:127.0.0.1:%d
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "jsonrpcs.so"
loadmodule "db_%s.so"
loadmodule "imc.so"
modparam("jsonrpcs", "transport", 4)
modparam("jsonrpcs", "dgram_socket", "udp:%s")
modparam("imc", "db_url", "%s")
modparam("imc", "outbound_proxy", "%s")
request_route {
	if (is_method("OPTIONS")) { sl_send_reply("200", "OK"); exit; }
	if (is_method("MESSAGE") && imc_manager()) { sl_send_reply("200", "OK"); exit; }
	sl_send_reply("403", "imc_manager failed");
}
`

// Domain is that of all rooms and users.
const Domain = "example.org"

// Module is a running Kamailio with the imc module. Its methods are for one goroutine.
type Module struct {
	port int
	rpc  string // host:port
	ua   map[string]*evapitest.UA
	log  *kit.Output

	kamailio *child.Child
}

// Start starts a Kamailio that ends with the test; dbURL is in its own form, postgres://… or mysql://….
func Start(t testing.TB, dbURL string) *Module {
	t.Helper()
	ports, err := evapitest.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	m := &Module{port: ports[0], rpc: fmt.Sprint("127.0.0.1:", ports[1]), ua: make(map[string]*evapitest.UA),
		log: &kit.Output{}}
	sink := m.user(t, "sink")
	sink.AnswerWith(200)
	driver, _, _ := strings.Cut(dbURL, ":")
	dir := t.TempDir()
	file := filepath.Join(dir, "kamailio.cfg")
	text := fmt.Appendf(nil, config, m.port, driver, m.rpc, dbURL, sink.Contact())
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("kamailio", "-f", file, "-DD", "-E", "-m", "64", "-M", "8", "-w", dir, "-Y", dir)
	cmd.Stdout, cmd.Stderr = m.log, m.log
	if m.kamailio, err = child.Start(cmd, true); err != nil {
		t.Fatalf("Kamailio is needed: %v", err)
	}
	t.Cleanup(func() { m.Stop(t) })
	for m.options(t) != 200 {
		select {
		case <-m.kamailio.Done():
			t.Fatalf("Kamailio ended: %s", m.log)
		default:
		}
	}
	return m
}

// Stop ends Kamailio cleanly, so that the module writes its rooms back.
func (m *Module) Stop(t testing.TB) {
	t.Helper()
	if err := m.kamailio.End(syscall.SIGTERM, kit.Patience); err != nil {
		t.Errorf("%v: %s", err, m.log)
	}
}

// options asks Kamailio for a sign of life and waits a little for it.
func (m *Module) options(t testing.TB) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(kit.Context(t), 100*time.Millisecond)
	defer cancel()
	res, err := m.user(t, "sink").Options(ctx, "sip:127.0.0.1")
	if err != nil {
		return 0 // not yet
	}
	return res.StatusCode
}

// Log is what Kamailio has written.
func (m *Module) Log() string { return m.log.String() }

func uri(room string) string { return "sip:" + room + "@" + Domain }

// user returns the user agent of a user@example.org.
func (m *Module) user(t testing.TB, name string) *evapitest.UA {
	t.Helper()
	if ua := m.ua[name]; ua != nil {
		return ua
	}
	ua, err := evapitest.NewUA(evapitest.UAConfig{User: name, Domain: Domain,
		Proxy: fmt.Sprint("127.0.0.1:", m.port)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ua.Close(); err != nil {
			t.Error(err)
		}
	})
	m.ua[name] = ua
	return ua
}

// Say sends a message to a room, which must be accepted.
func (m *Module) Say(t testing.TB, user, room, text string) {
	t.Helper()
	if code := m.Try(t, user, room, text); code != 200 {
		t.Fatalf("%s says %q to %s: %d\n%s", user, text, room, code, m.log)
	}
}

// Try sends a message to a room and returns the code of the answer.
func (m *Module) Try(t testing.TB, user, room, text string) int {
	t.Helper()
	res, err := m.user(t, user).Say(kit.Context(t), uri(room), text)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode
}

// Call makes a JSON-RPC call and decodes its result.
func (m *Module) Call(t testing.TB, result any, method string, params ...string) {
	t.Helper()
	message := map[string]any{"jsonrpc": "2.0", "id": 1, "method": method}
	if len(params) > 0 {
		message["params"] = params
	}
	request, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", m.rpc)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(kit.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65536)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	reply := struct{ Result, Error json.RawMessage }{}
	if err := json.Unmarshal(buf[:n], &reply); err != nil || reply.Error != nil {
		t.Fatalf("%s: %s (%v)", method, buf[:n], err)
	}
	if err := json.Unmarshal(reply.Result, result); err != nil {
		t.Fatalf("%s: %s: %v", method, reply.Result, err)
	}
}

// Owners returns the owner of each room, as the module sees it.
func (m *Module) Owners(t testing.TB) map[string]string {
	t.Helper()
	var list []struct {
		Room, Owner string
		Members     int
	}
	m.Call(t, &list, "imc.list_rooms")
	owners := make(map[string]string)
	for _, r := range list {
		owners[r.Room] = r.Owner
	}
	return owners
}

// Members returns the members of a room, invited ones included, sorted.
func (m *Module) Members(t testing.TB, room string) []string {
	t.Helper()
	var r struct{ Members []string }
	m.Call(t, &r, "imc.list_members", uri(room))
	slices.Sort(r.Members)
	return r.Members
}
