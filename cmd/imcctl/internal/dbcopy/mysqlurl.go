package dbcopy

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"imcd/schema"
)

// dialTimeout bounds how long a server may take to accept a connection.
const dialTimeout = 10 * time.Second

// sockets are where a MySQL or MariaDB of this host listens, in the order in which they are tried.
var sockets = []string{"/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock",
	"/tmp/mysql.sock"}

// isMySQL reports whether a URL names a MySQL or MariaDB.
func isMySQL(dbURL string) bool {
	scheme, _, _ := strings.Cut(dbURL, "://")
	scheme = strings.ToLower(scheme)
	return scheme == "mysql" || scheme == "mariadb"
}

// mysqlConfig reads a URL of Kamailio: mysql://USER:PASSWORD@HOST[:PORT]/DATABASE. After a question mark there may
// be charset, socket and tls. password is for a URL without one. Errors have no part of the URL, as it may hold a
// password.
func mysqlConfig(dbURL, password string, exists func(path string) bool) (*mysql.Config, error) {
	_, rest, _ := strings.Cut(dbURL, "://")
	u, err := url.Parse("mysql://" + rest)
	if err != nil || u.Fragment != "" {
		if u, err = lenient(rest); err != nil {
			return nil, err
		}
	}
	name := strings.Trim(u.Path, "/")
	if strings.HasPrefix(u.Host, "[") && !strings.Contains(u.Host, ":") {
		return nil, errors.New("a group of my.cnf cannot be read: write mysql://USER:PASSWORD@HOST/DATABASE")
	}
	if name == "" || strings.Contains(name, "/") {
		return nil, errors.New("no database is named: mysql://USER:PASSWORD@HOST/DATABASE")
	}
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = u.User.Username(), password, name
	if own, ok := u.User.Password(); ok {
		cfg.Passwd = own
	}
	options, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the options after ? cannot be read")
	}
	for key := range options {
		if key != "charset" && key != "socket" && key != "tls" {
			return nil, fmt.Errorf("%q is no option; there are charset, socket and tls", key)
		}
	}
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(orLocal(u.Hostname()), orPort(u.Port()))
	cfg.TLSConfig = "preferred"
	if path := socketOf(u, options.Get("socket"), exists); path != "" {
		cfg.Net, cfg.Addr, cfg.TLSConfig = "unix", path, ""
	}
	if tls := options.Get("tls"); tls != "" {
		cfg.TLSConfig = tls
	}
	charset := options.Get("charset")
	if charset == "" {
		charset = "utf8mb4" // as Kamailio's client does
	}
	if err := cfg.Apply(mysql.Charset(charset, "")); err != nil {
		return nil, fmt.Errorf("charset: %w", err)
	}
	cfg.Timeout, cfg.Logger = dialTimeout, &mysql.NopLogger{}
	cfg.InterpolateParams = true // one round trip for each statement
	cfg.Params = map[string]string{"sql_mode": "'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'"}
	return cfg, nil
}

// WithoutPassword is a URL of MySQL that can be shown; "mysql://…" if it cannot be read.
func WithoutPassword(dbURL string) string {
	scheme, rest, _ := strings.Cut(dbURL, "://")
	u, err := lenient(rest)
	if err != nil {
		return scheme + "://…"
	}
	user := u.User.Username()
	u.User = nil
	if user != "" {
		u.User = url.User(user)
	}
	u.Scheme = scheme
	return u.String()
}

// lenient reads URLs that Kamailio accepts and a strict parser refuses.
func lenient(rest string) (*url.URL, error) {
	user, rest := schema.CutUser(rest)
	u, err := url.Parse("mysql://" + rest)
	if err != nil {
		return nil, errors.New("host, port or database cannot be read")
	}
	u.User = user
	return u, nil
}

// socketOf is the Unix socket for a URL; empty: there is none. Like MySQL's own client, localhost without a port
// means the socket.
func socketOf(u *url.URL, given string, exists func(path string) bool) string {
	if given != "" || u.Port() != "" || orLocal(u.Hostname()) != "localhost" {
		return given
	}
	for _, path := range sockets {
		if exists(path) {
			return path
		}
	}
	return ""
}

func orLocal(host string) string {
	if host == "" {
		return "localhost"
	}
	return host
}

func orPort(port string) string {
	if port == "" {
		return "3306"
	}
	return port
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
