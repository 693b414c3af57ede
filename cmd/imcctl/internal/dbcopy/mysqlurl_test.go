package dbcopy

import (
	"strings"
	"testing"
)

func TestMySQLURL(t *testing.T) {
	t.Parallel()
	socket := func(path string) bool { return path == "/run/mysqld/mysqld.sock" }
	none := func(string) bool { return false }
	for url, want := range map[string]string{
		"mysql://kamailio:kamailiorw@localhost/kamailio":       "kamailio kamailiorw unix /run/mysqld/mysqld.sock kamailio ",
		"mysql://kamailio@localhost/kamailio":                  "kamailio env unix /run/mysqld/mysqld.sock kamailio ",
		"mysql://u:p@localhost:3307/d":                         "u p tcp localhost:3307 d preferred",
		"mariadb://u:p@db.example.org/d":                       "u p tcp db.example.org:3306 d preferred",
		"MYSQL://u:p@[2001:db8::1]:3307/d/":                    "u p tcp [2001:db8::1]:3307 d preferred",
		"mysql://u:a/b?c#d@e%@h/d":                             "u a/b?c#d@e% tcp h:3306 d preferred",
		"mysql://u:p%40q@h/d?tls=skip-verify&charset=latin1":   "u p@q tcp h:3306 d skip-verify",
		"mysql://u:@h/d":                                       "u  tcp h:3306 d preferred",
		"mysql:///d":                                           " env unix /run/mysqld/mysqld.sock d ",
		"mysql://u:p@h/d?socket=/var/lib/other.sock&tls=false": "u p unix /var/lib/other.sock d false",
	} {
		cfg, err := mysqlConfig(url, "env", socket)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		got := strings.Join([]string{cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName, cfg.TLSConfig}, " ")
		if got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	if cfg, err := mysqlConfig("mysql://u:p@localhost/d", "", none); err != nil || cfg.Addr != "localhost:3306" {
		t.Errorf("without a socket: %+v, %v", cfg, err)
	}
	for _, url := range []string{"mysql://u:secret@h", "mysql://u:secret@h/", "mysql://u:secret@h/a/b",
		"mysql://u:secret@h:port/d", "mysql://[group]/d", "mysql://u:secret@h/d?charset=klingon&x=1",
		"mysql://u:secret@h/d?timeout=3",
		"mysql://u:secret@h/d?%zz", "mysql://u:secret@h h/d"} {
		if cfg, err := mysqlConfig(url, "", none); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %+v, %v", url, cfg, err)
		}
	}
}
