package phones

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// domain is that of all users and rooms, if a test does not need two.
const domain = "chat.test"

// site is a server as an operator has it: the stock kamailio.cfg with the README's
// edits, WITH_AUTH and WITH_NAT, that takes SIP over UDP, TCP, TLS and WebSocket, and
// imcd behind it.
type site struct {
	*stack.Stack
	domain  string
	ws, tls string // addresses
	cert    string // file of the TLS certificate
}

// siteOptions say what a site is to be.
type siteOptions struct {
	database string // sqlite or postgres
	domain   string
	users    []string          // subscribers
	settings map[string]string // imcd's
	sipPort  int               // 0: a free one
	peers    map[string]int    // ports of 127.0.0.1 where other domains' servers are
	imcLocal string            // imc-local.cfg has these lines, too
}

// startSite starts a site.
func startSite(t *testing.T, o siteOptions) *site {
	t.Helper()
	domain, imcd := o.domain, binary.Path(t) // building it may take longer than ctx lasts
	ctx := kit.Context(t)
	diffs, err := evapitest.ReadmeDiffs()
	if err != nil {
		t.Fatal(err)
	}
	config, err := evapitest.StockConfig(ctx, diffs...)
	if err != nil {
		t.Fatal(err)
	}
	for peer, port := range o.peers {
		const outbound = `append_hf("P-Hint: outbound\r\n");`
		if !strings.Contains(config, outbound) {
			t.Fatalf("the stock configuration has no %s", outbound)
		}
		config = strings.Replace(config, outbound,
			fmt.Sprintf("%s\n\tif ($rd==%q) $du = \"sip:127.0.0.1:%d\";", outbound, peer, port), 1)
	}
	ports, err := evapitest.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	opts := evapitest.Options{Config: config, SIPPort: o.sipPort, IMCLocal: o.imcLocal}
	opts, err = opts.WithWebSocket(ports[0]).WithTLS(ports[1], domain)
	if err != nil {
		t.Fatal(err)
	}
	opts.Local = fmt.Sprintf("#!define WITH_AUTH\n#!define WITH_NAT\nalias=%q\n", domain)
	stackOpts := stack.Options{Settings: o.settings}
	if o.database == "postgres" {
		stackOpts.DBURL = schematest.NewDatabase(t)
		opts.Local += postgresSubscribers(t, domain, o.users)
	} else {
		opts.Local += textSubscribers(t, domain, o.users)
	}
	stackOpts.Kamailio = opts
	stackOpts.Binary = imcd
	st, err := stack.Start(ctx, stackOpts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("imcd:\n%s\nKamailio:\n%s", st.LogTail(), kamailioLog(st.Kamailio().LogTail()))
		}
	})
	return &site{
		Stack:  st,
		domain: domain,
		ws:     fmt.Sprintf("127.0.0.1:%d", ports[0]),
		tls:    fmt.Sprintf("127.0.0.1:%d", ports[1]),
		cert:   filepath.Join(st.Kamailio().Dir(), evapitest.TLSCertificate),
	}
}

// agent is a user agent of ours, registered: what the clients cannot be asked to do.
func (s *site) agent(t *testing.T, user string) *evapitest.UA {
	t.Helper()
	u, err := s.Agent(evapitest.UAConfig{User: user, Domain: s.domain, Password: password(user)})
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Register(kit.Within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	return u
}

// says sends a text by one of our user agents, that must be accepted.
func says(t *testing.T, u *evapitest.UA, uri, text string) {
	t.Helper()
	res, err := u.Say(kit.Within(t, 20*time.Second), uri, text)
	if err != nil || res.StatusCode/100 != 2 {
		t.Fatalf("%s says %q to %s: %v %v", u.AOR(), text, uri, res, err)
	}
}

// rest waits until imcd has delivered everything and a phone has shown it, and returns
// what it has shown that was not expected.
func (s *site) rest(t *testing.T, p *phone) []message {
	t.Helper()
	if err := s.Idle(kit.Within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	zoe := s.agent(t, "zoe")
	says(t, zoe, "sip:"+p.user+"@"+s.domain, "the last")
	return p.until(zoe.AOR(), "the last")
}

// settle checks that phones have shown nothing that was not expected.
func (s *site) settle(t *testing.T, phones ...*phone) {
	t.Helper()
	for _, p := range phones {
		if rest := s.rest(t, p); len(rest) > 0 {
			t.Errorf("%s has more than expected: %q", p.user, rest)
		}
	}
}

// sequence checks that a room has had so many messages.
func (s *site) sequence(t *testing.T, room string, want int) {
	t.Helper()
	var info struct {
		Sequence int `json:"sequence"`
	}
	if err := s.Call(kit.Within(t, 10*time.Second), "imc.room_info", []string{room}, &info); err != nil {
		t.Fatal(err)
	}
	if info.Sequence != want {
		t.Errorf("%s has %d messages, %d were said", room, info.Sequence, want)
	}
}

// kamailioLog leaves out what the modules say of themselves at the start.
func kamailioLog(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "rtpproxy") && !strings.Contains(line, " INFO: ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// password is what a user proves to be itself by.
func password(user string) string { return user + "-secret" }

// postgresSubscribers makes Kamailio's table, and says where it is.
func postgresSubscribers(t *testing.T, domain string, names []string) string {
	t.Helper()
	url := schematest.NewDatabase(t)
	name := url[strings.LastIndex(url, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	var rows strings.Builder
	for _, user := range names {
		fmt.Fprintf(&rows, "INSERT INTO subscriber (username, domain, password) VALUES ('%s', '%s', '%s');\n",
			user, domain, password(user))
	}
	const tables = `
CREATE TABLE version (id SERIAL PRIMARY KEY, table_name VARCHAR(32) NOT NULL UNIQUE,
	table_version INTEGER DEFAULT 0 NOT NULL);
INSERT INTO version (table_name, table_version) VALUES ('version', 1), ('subscriber', 7);
CREATE TABLE subscriber (id SERIAL PRIMARY KEY, username VARCHAR(64) DEFAULT '' NOT NULL,
	domain VARCHAR(64) DEFAULT '' NOT NULL, password VARCHAR(64) DEFAULT '' NOT NULL,
	ha1 VARCHAR(128) DEFAULT '' NOT NULL, ha1b VARCHAR(128) DEFAULT '' NOT NULL, UNIQUE (username, domain));
`
	if err := schematest.Server(t).Exec(t.Context(), name, tables+rows.String()); err != nil {
		t.Fatal(err)
	}
	url, _, _ = strings.Cut(url, "?")
	return fmt.Sprintf("#!define DBURL %q\nloadmodule \"db_postgres.so\"\n", url)
}

// textSubscribers is the same for Kamailio's own files of text.
func textSubscribers(t *testing.T, domain string, names []string) string {
	t.Helper()
	dir := t.TempDir()
	rows := "id(int,auto) username(string) domain(string) password(string) ha1(string,null) ha1b(string,null)\n"
	for i, user := range names {
		rows += fmt.Sprintf("%d:%s:%s:%s::\n", i+1, user, domain, password(user))
	}
	for file, text := range map[string]string{
		"subscriber": rows,
		"version":    "table_name(string) table_version(int)\nsubscriber:7\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("#!define DBURL \"text://%s\"\nloadmodule \"db_text.so\"\n", dir)
}

// phone is a phone with manners, registered.
func (s *site) phone(t *testing.T, cfg evapitest.UAConfig, manners evapitest.Manners) *evapitest.Phone {
	t.Helper()
	cfg.Domain, cfg.Proxy, cfg.Password = domain, s.Kamailio().SIPAddr(), password(cfg.User)
	p, err := evapitest.NewPhone(cfg, manners)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := p.Register(kit.Within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	return p
}
