package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"imcd/evapi"
)

// check derives the values that depend on several keys and reports the first that is
// wrong. Origin tells where a key's value came from.
func (r *raw) check(origin map[string]string) (*Config, error) {
	for _, c := range []struct {
		key string
		fn  func() error
	}{
		{"db_url", r.checkDBURL},
		{"rooms_table", func() error { return checkTable(r.DB.RoomsTable) }},
		{"members_table", func() error { return checkTable(r.DB.MembersTable) }},
		{"members_table", r.checkTables},
		{"outbound_proxy", r.checkProxy},
		{"evapi", r.checkEvapi},
		{"evapi_secret", r.connect},
		{"state_dir", r.checkStateDir},
		{"rpc_listen", func() error { return checkListen(r.RPC.Listen) }},
		{"http_listen", func() error { return checkListen(r.HTTP.Listen) }},
		{"rpc_token", r.checkToken},
		{"rpc_listen", func() error { return r.checkReach(r.RPC.Listen) }},
		{"http_listen", func() error { return r.checkReach(r.HTTP.Listen) }},
		{"http_origins", r.checkOrigins},
		{"bots", r.checkBots},
		{"webhook_url", r.checkWebhookURL},
		{"webhook_secret", r.checkWebhookSecret},
		{"webhook_events", r.checkWebhookEvents},
	} {
		if err := c.fn(); err != nil {
			return nil, &Error{Key: c.key, Source: origin[c.key], Err: err}
		}
	}
	if err := r.Engine.Validate(); err != nil {
		// The engine puts the key before the first colon.
		key, text, _ := strings.Cut(err.Error(), ": ")
		top, _, _ := strings.Cut(key, ".")
		return nil, &Error{Key: key, Source: origin[top], Err: errors.New(text)}
	}
	return &r.Config, nil
}

func (r *raw) checkDBURL() error {
	if r.DB.URL == "" {
		r.DB.URL = "sqlite://" + filepath.Join(r.StateDir, "imcd.db")
		r.DB.InStateDir = true
		return nil
	}
	scheme, rest, found := strings.Cut(r.DB.URL, "://")
	if !found || rest == "" {
		return errors.New("must be sqlite://FILE or postgres://user:password@host/name")
	}
	switch strings.ToLower(scheme) {
	case "sqlite", "postgres", "postgresql":
		return nil // the rest is the database's to judge
	}
	return fmt.Errorf("%s is no database that imcd knows (sqlite, postgres)", scheme)
}

// maxTableName is the length of the column table_name of Kamailio's version table.
const maxTableName = 32

func checkTable(name string) error {
	if name == "" || len(name) > maxTableName {
		return fmt.Errorf("must be a table name of 1 to %d characters, is %q", maxTableName, name)
	}
	for i, c := range name {
		letter := c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
		if !letter && (i == 0 || c < '0' || c > '9') {
			return fmt.Errorf("must be letters, digits and underscores, is %q", name)
		}
	}
	return nil
}

func (r *raw) checkTables() error {
	if strings.EqualFold(r.DB.RoomsTable, r.DB.MembersTable) {
		return errors.New("must be another table than rooms_table")
	}
	return nil
}

func (r *raw) checkProxy() error {
	if r.outboundProxy == "" {
		return nil
	}
	var u sip.Uri
	if err := sip.ParseUri(r.outboundProxy, &u); err != nil || u.Host == "" || u.Scheme != "sip" && u.Scheme != "sips" ||
		strings.ContainsAny(r.outboundProxy, "\"\\<>, \t\r\n\x00") {
		return fmt.Errorf("must be a SIP URI like sip:proxy.example.org:5060, is %q", r.outboundProxy)
	}
	return nil
}

func (r *raw) checkEvapi() error {
	if len(r.evapi) == 0 {
		return errors.New("needs at least one Kamailio")
	}
	seen := map[string]bool{}
	for i := range r.evapi {
		e := &r.evapi[i]
		if err := checkAddr(e.addr); err != nil {
			return err
		}
		if seen[e.addr] {
			return fmt.Errorf("%s is there twice", e.addr)
		}
		seen[e.addr] = true
		if e.secretFile != "" {
			var err error
			if e.secret, err = r.secretOf(e.secretFile); err != nil {
				return fmt.Errorf("%s: secret_file: %w", e.addr, err)
			}
		}
		if e.secret != "" {
			if err := checkSecret(e.secret); err != nil {
				return fmt.Errorf("%s: secret %w", e.addr, err)
			}
		}
	}
	return nil
}

// connect turns the endpoints into the connections to make.
func (r *raw) connect() error {
	if r.evapiSecret != "" {
		if err := checkSecret(r.evapiSecret); err != nil {
			return err
		}
	}
	r.LookupDomains = r.LookupDomains && r.outboundProxy == ""
	for _, e := range r.evapi {
		if e.secret == "" {
			e.secret = r.evapiSecret
		}
		if e.secret == "" {
			return fmt.Errorf("is not set, and without it Kamailio at %s will not listen: "+
				"give the secret that its imc.cfg has (or evapi_secret_file)", e.addr)
		}
		r.Kamailios = append(r.Kamailios, evapi.Config{Addr: e.addr, Secret: e.secret, NextHop: r.outboundProxy,
			Fanout: r.fanout})
	}
	return nil
}

// checkSecret never quotes the secret.
func checkSecret(s string) error {
	if len(s) > 128 {
		return errors.New("must have at most 128 characters")
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' || c == ',' {
			return errors.New("must be printable ASCII without space, quote, backslash and comma")
		}
	}
	return nil
}

func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return fmt.Errorf("must be host:port, is %q", addr)
	}
	return checkPort(port, 1)
}

func checkListen(addr string) error {
	if addr == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("must be host:port, is %q", addr)
	}
	return checkPort(port, 0)
}

func checkPort(port string, low int) error {
	if n, err := strconv.Atoi(port); err != nil || n < low || n > 65535 {
		return fmt.Errorf("port must be %d to 65535, is %q", low, port)
	}
	return nil
}

func (r *raw) checkStateDir() error {
	if r.StateDir == "" {
		return errors.New("must name a directory")
	}
	if fi, err := os.Stat(r.StateDir); err == nil && !fi.IsDir() {
		return fmt.Errorf("%s is no directory", r.StateDir)
	}
	return nil
}
