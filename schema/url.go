package schema

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lib/pq"
)

// errURL begins every error about db_url. The URL itself is never part of it: it may hold
// a password.
func errURL(format string, args ...any) error {
	return fmt.Errorf("db_url: "+format, args...)
}

// openDialect reads a db_url and returns the dialect that it asks for.
func openDialect(dbURL string, opts Options) (dialect, error) {
	scheme, rest, ok := strings.Cut(dbURL, "://")
	if !ok {
		return nil, errURL("needs the form sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE")
	}
	switch strings.ToLower(scheme) {
	case "sqlite":
		if rest == "" {
			return nil, errURL("sqlite:// needs the path of a file")
		}
		path, err := filepath.Abs(rest)
		if err != nil {
			return nil, errURL("path of the SQLite file: %w", err)
		}
		return &sqliteDialect{path: path}, nil
	case "postgres", "postgresql":
		cfg, prefer, err := postgresConfig(rest)
		if err != nil {
			return nil, err
		}
		return newPostgresDialect(cfg, prefer, opts), nil
	}
	return nil, errURL("%q is neither sqlite nor postgres", scheme)
}

// postgresConfig reads the rest of a db_url after postgres://. preferTLS is set if neither the
// URL nor the environment says whether to use TLS.
func postgresConfig(rest string) (cfg pq.Config, preferTLS bool, err error) {
	u, hosts, err := strictURL(rest)
	if err != nil || u.Fragment != "" {
		if u, hosts, err = lenientURL(rest); err != nil {
			return cfg, false, err
		}
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return cfg, false, errURL("the options after ? cannot be read")
	}
	if err := hosts.into(q); err != nil {
		return cfg, false, err
	}
	if name := strings.Trim(u.Path, "/"); name == "" && !q.Has("dbname") {
		return cfg, false, errURL("no database is named: postgres://USER:PASSWORD@HOST/DATABASE")
	}
	preferTLS = !q.Has("sslmode") && os.Getenv("PGSSLMODE") == "" && os.Getenv("PGSERVICE") == "" &&
		!q.Has("service") && !q.Has("sslrootcert")
	if !q.Has("fallback_application_name") {
		q.Set("fallback_application_name", "imcd")
	}
	// Saves a round trip for every statement with parameters, and needs no
	// prepared statements, which a pooler in between may not keep.
	q.Set("binary_parameters", "yes")
	// imcd writes UTF-8 only, whatever PGCLIENTENCODING or the URL asks for.
	q.Set("client_encoding", "UTF8")
	u.RawQuery = q.Encode()
	if cfg, err = pq.NewConfig(u.String()); err != nil {
		return cfg, false, hideSecret(err, u)
	}
	if len(cfg.Multi) > 0 {
		if cfg.TargetSessionAttrs == "" {
			cfg.TargetSessionAttrs = pq.TargetSessionAttrsReadWrite // the primary of them
		}
		if cfg.ConnectTimeout == 0 && !q.Has("connect_timeout") {
			cfg.ConnectTimeout = otherHostAfter
		}
	}
	return cfg, preferTLS, nil
}

// otherHostAfter is connect_timeout where there is another server to try: without it one
// that does not answer takes all the time that a commit has.
const otherHostAfter = time.Second

// strictURL reads a correct URL, which may name several hosts as in libpq.
func strictURL(rest string) (*url.URL, hostList, error) {
	end := endOfHosts(rest)
	begin := strings.LastIndexByte(rest[:end], '@') + 1
	hosts, err := readHosts(rest[begin:end])
	if err != nil {
		return nil, nil, err
	}
	if len(hosts) > 0 {
		rest = rest[:begin] + rest[end:]
	}
	u, err := url.Parse("postgres://" + rest)
	return u, hosts, err
}

// CutUser cuts user and password off the part of a URL behind "//", as Kamailio does: they may have any
// characters, and end at the last @. user is nil if there is none.
func CutUser(rest string) (user *url.Userinfo, host string) {
	i := strings.LastIndexByte(rest, '@')
	if i < 0 {
		return nil, rest
	}
	if name, password, has := strings.Cut(rest[:i], ":"); has {
		return url.UserPassword(name, password), rest[i+1:]
	}
	return url.User(rest[:i]), rest[i+1:]
}

// lenientURL reads URLs that Kamailio accepts and a strict parser refuses.
func lenientURL(rest string) (*url.URL, hostList, error) {
	user, rest := CutUser(rest)
	u, hosts, err := strictURL(rest)
	if err != nil {
		return nil, nil, errURL("host, port or database cannot be read")
	}
	u.User = user
	return u, hosts, nil
}

// hideSecret returns an error about db_url with the text of err, without the password.
func hideSecret(err error, u *url.URL) error {
	text := strings.TrimPrefix(err.Error(), "pq: ")
	if secret, ok := u.User.Password(); ok && secret != "" {
		for _, s := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			text = strings.ReplaceAll(text, s, "xxxxx")
		}
	}
	return errURL("%s", text)
}
