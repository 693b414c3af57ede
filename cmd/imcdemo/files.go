package main

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"imcd/cmd/internal/stack"
	kamailiocfg "imcd/kamailio-cfg"
)

func (s *service) configDir() string          { return filepath.Join(s.dir, "kamailio") }
func (s *service) logFile(name string) string { return filepath.Join(s.dir, name+".log") }
func (s *service) operatorSecretFile() string { return filepath.Join(s.dir, "operator") }

// imcdConfig is imcd's configuration, by which imcctl finds it.
func (s *service) imcdConfig() string { return filepath.Join(s.dir, "imcd.yaml") }
func (s *service) children() (c []*stack.Child) {
	for _, child := range []*stack.Child{s.kamailio, s.imcd} {
		if child != nil {
			c = append(c, child)
		}
	}
	return c
}

// writeConfig writes the configurations of Kamailio and imcd with new secrets.
func (s *service) writeConfig() error {
	secret := rand.Text()
	operator := rand.Text()
	for path, text := range map[string]string{
		filepath.Join(s.configDir(), "kamailio.cfg"):      kamailiocfg.File(kamailiocfg.Demo),
		filepath.Join(s.configDir(), kamailiocfg.IMC):     kamailiocfg.File(kamailiocfg.IMC),
		filepath.Join(s.configDir(), kamailiocfg.Through): kamailiocfg.File(kamailiocfg.Through),
		filepath.Join(s.configDir(), kamailiocfg.Native):  kamailiocfg.File(kamailiocfg.Native),
		filepath.Join(s.configDir(), kamailiocfg.Htable):  kamailiocfg.File(kamailiocfg.Htable),
		filepath.Join(s.configDir(), "kamailio-local.cfg"): fmt.Sprintf(
			"%[2]s#!define IMC_LISTEN\nlisten=udp:%[1]s\nlisten=tcp:%[1]s\n", loopback(s.set.sip), s.webSocketLine()),
		filepath.Join(s.configDir(), "imc-local.cfg"): fmt.Sprintf(
			"#!define IMC_EVAPI_BIND %q\n#!define IMC_SECRET %q\n#!define IMC_OPERATOR_SECRET %q\n#!define IMC_NATIVE\n",
			loopback(s.set.evapi), secret, operator),
		s.operatorSecretFile(): operator + "\n",
		s.imcdConfig(): fmt.Sprintf("# Of make run; it is written again each time.\nevapi: %q\nevapi_secret: %q\n"+
			"rpc_listen: %q\nhttp_listen: %q\nstate_dir: %q\ndb_url: %q\n"+
			"event_bodies: 1 # for trials: the console shows what is said\n",
			loopback(s.set.evapi), secret, loopback(s.set.rpc), loopback(s.set.http), s.dir, s.dbURL()),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("STATE_DIR: %w", err)
		}
	}
	return nil
}

// dbURL is where imcd keeps its rooms.
func (s *service) dbURL() string {
	return cmp.Or(s.set.dbURL, "sqlite://"+filepath.Join(s.dir, "imcd.db"))
}

// near is a path as it is shown: from the current folder, if it is in there.
func near(path string) string {
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
			return rel
		}
	}
	return path
}

func kamailioArgs(dir string) []string {
	return []string{"-f", filepath.Join(dir, "kamailio.cfg"), "-DD", "-E", "-w", dir, "-Y", dir,
		"-m", "256", "-M", "16", "-n", "4", "-N", "4"}
}

// tail is the end of a program's output.
func (s *service) tail(name string) string {
	text, err := os.ReadFile(s.logFile(name))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}

// webSocketLine switches phones in browsers on, if this Kamailio has the module.
func (s *service) webSocketLine() string {
	if !s.webSocket() {
		return ""
	}
	return "#!define IMC_WEBSOCKET\n"
}

// webSocket reports whether Kamailio's WebSocket module is installed.
func (s *service) webSocket() bool {
	found, err := filepath.Glob("/usr/lib/*/kamailio/modules/websocket.so")
	return err == nil && len(found) > 0
}

// announce says how to use what runs. The identity has no port: with one, Linphone
// sends no receipts.
func (s *service) announce(out io.Writer) {
	sip, browser, checkFlag := loopback(s.set.sip), "", ""
	if s.set.sip != 5060 {
		checkFlag = " --sip " + sip
	}
	if s.webSocket() {
		browser = fmt.Sprintf("  in a browser         ws://%s (JsSIP, SIP.js)\n", sip)
	}
	fmt.Fprintf(out, `Kamailio and imcd are running. Point one or more SIP clients at

  identity             sip:alice@%[9]s, or any other name; no password, no port
  proxy                sip:%[1]s (UDP), or sip:%[1]s;transport=tcp
%[10]s
register, and send chat messages to any address that begins with chat-, like

  sip:chat-garden@%[9]s    #create makes the room, #join enters it, #help tells more

In Linphone rooms are group chats, with titles, members and who has read what. In the account's settings, give

  conference factory   sip:conference-factory@%[9]s

  database   %[2]s
  imcctl     bin/imcctl -c %[3]s rooms; also watch, room garden, check%[4]s
             bin/imcctl -c %[3]s --evapi %[5]s rooms (through Kamailio)
  console    http://%[6]s/ in a browser; also /metrics, /healthz, /readyz
  logs       %[7]s, %[8]s

Ctrl-C stops everything.
ready
`, sip, hidePassword(s.dbURL()), near(s.imcdConfig()), checkFlag, loopback(s.set.evapi), loopback(s.set.http),
		near(s.logFile("kamailio")), near(s.logFile("imcd")), host, browser)
}
