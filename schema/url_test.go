package schema

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lib/pq"

	"imcd/schema/schematest"
)

func TestPostgresURLs(t *testing.T) {
	tests := []struct {
		url                      string
		user, password, host, db string
		port                     uint16
		prefer                   bool
	}{
		{"postgres://kamailio:kamailiorw@localhost/kamailio", "kamailio", "kamailiorw", "localhost", "kamailio", 5432, true},
		{"postgresql://u:p%40ss@10.0.0.1:5433/db", "u", "p@ss", "10.0.0.1", "db", 5433, true},
		{"postgres://u:p@h/db?sslmode=disable", "u", "p", "h", "db", 5432, false},
		{"postgres://u:p@h/db?sslmode=require&connect_timeout=3", "u", "p", "h", "db", 5432, false},
		{"postgres://u:a#b/c?d%@h/db", "u", "a#b/c?d%", "h", "db", 5432, true},
		{"postgres://u@x:p@h:1/db", "u@x", "p", "h", "db", 1, true},
		{"postgres://u:p@[::1]:5433/db", "u", "p", "::1", "db", 5433, true},
		{"postgres://u:p@/db?host=/run/pg", "u", "p", "/run/pg", "db", 5432, true},
	}
	for _, test := range tests {
		d, err := openDialect(test.url, Options{}.withDefaults())
		if err != nil {
			t.Errorf("%s: %v", test.url, err)
			continue
		}
		p := d.(*postgresDialect)
		c := p.cfg
		if c.User != test.user || c.Password != test.password || c.Host != test.host || c.Database != test.db ||
			c.Port != test.port || p.connector.preferTLS != test.prefer {
			t.Errorf("%s: user %q password %q host %q port %d database %q prefer TLS %t",
				test.url, c.User, c.Password, c.Host, c.Port, c.Database, p.connector.preferTLS)
		}
	}
}

func TestBadURLs(t *testing.T) {
	folder := t.TempDir()
	for _, url := range []string{"", "mysql://u:secret@h/d", "postgres://u:secret@h", "postgres://u:secret@h/",
		"sqlite://",
		"postgres://u:secret@h:port/d", "postgres://u:secret@h/d?sslmode=perhaps", "postgres://u:secret@h/d?a=%zz",
		"postgres://u:secret@127.0.0.1:1/d", "postgres://u:secret@h:99999/d", "secret", "sqlite://" + folder,
		"postgres://u:secret@/d?host=" + folder, "postgres://u:secret#@h:x/d"} {
		s, err := Open(testContext(t), url, Options{})
		if err == nil {
			t.Errorf("%s is taken", url)
			_ = s.Close()
			continue
		}
		if !strings.HasPrefix(err.Error(), "db_url: ") || strings.Contains(err.Error(), "secret") ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, url := range []string{"postgres://kamailio:kamailiorw@localhost/kamailio", "postgres://u:a#b@h:1/d?x=y",
		"sqlite://x", "postgres://u:a,b@h1:1,[::1]/d"} {
		f.Add(url)
	}
	f.Fuzz(func(t *testing.T, url string) {
		d, err := openDialect(url, Options{}.withDefaults())
		if (d == nil) == (err == nil) {
			t.Errorf("dialect %v, error %v", d, err)
		}
	})
}

func TestKamailiosURLWithAndWithoutTLS(t *testing.T) {
	t.Parallel()
	encrypted := func(t *testing.T, s *Store) int {
		return count(t, s, "SELECT count(*) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl")
	}
	t.Run("plain server", func(t *testing.T) {
		t.Parallel()
		if s := open(t, schematest.NewDatabase(t), Options{}); encrypted(t, s) != 0 {
			t.Error("TLS on a server without TLS")
		}
	})
	t.Run("server with TLS", func(t *testing.T) {
		t.Parallel()
		pg := schematest.New(t, schematest.Options{TLS: true})
		if s := open(t, pg.URL("postgres"), Options{}); encrypted(t, s) != 1 {
			t.Error("no TLS on a server that has it")
		}
		if s := open(t, pg.URL("postgres")+"?sslmode=disable", Options{}); encrypted(t, s) != 0 {
			t.Error("TLS in spite of sslmode=disable")
		}
	})
	t.Run("TLS demanded of a plain server", func(t *testing.T) {
		t.Parallel()
		if _, err := Open(testContext(t), schematest.NewDatabase(t)+"?sslmode=require", Options{}); !errors.Is(err,
			ErrUnavailable) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("socket", func(t *testing.T) {
		t.Parallel()
		url := strings.Replace(schematest.NewDatabase(t), "@127.0.0.1", "@", 1) + "?host=" + schematest.Server(t).SocketDir()
		open(t, url, Options{})
	})
}

func TestWrongPasswordIsNotPrinted(t *testing.T) {
	t.Parallel()
	url := strings.Replace(schematest.NewDatabase(t), schematest.Password, "not-the-secret", 1)
	_, err := Open(testContext(t), url, Options{})
	var pqErr *pq.Error
	if !errors.Is(err, ErrUnavailable) || !errors.As(err, &pqErr) || strings.Contains(err.Error(), "not-the-secret") ||
		!strings.Contains(err.Error(), "password authentication failed") {
		t.Errorf("error %v", err)
	}
}

func TestSQLiteFileIsPrivateAndItsFolderMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new folder", "a%20b?c#d.db")
	s := open(t, "sqlite://"+path, Options{})
	commit(t, s, putRoom("r", 0))
	for _, suffix := range []string{"", "-wal"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v", info.Name(), info.Mode())
		}
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "2000"} {
		got, err := stringsOf(context.Background(), s.db, "PRAGMA "+pragma)
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s is %v (%v), want %s", pragma, got, err, want)
		}
	}
}
