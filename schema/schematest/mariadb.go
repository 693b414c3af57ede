package schematest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"imcd/evapi/evapitest/child"
)

// maria is the MariaDB that the tests of a package share, started when the first of them asks for a database.
var maria sharedMaria

type sharedMaria struct {
	once sync.Once
	db   *MariaDB // by once
	err  error    // by once

	mu   sync.Mutex
	made int // databases, by mu
}

// MariaDB is a running server with one user, User with Password, who may do everything. Its methods are safe for
// concurrent use.
type MariaDB struct {
	dir  string // holds data/, sock and log
	port int
	proc *child.Child // nil if it was not started
}

// NewMariaDB makes an empty database on the package's MariaDB and returns its db_url, in Kamailio's form. charset is
// its character set, empty: Debian's default (utf8mb4). It is dropped when the test ends.
func NewMariaDB(t testing.TB, charset string) string {
	t.Helper()
	maria.once.Do(func() { maria.db, maria.err = startMariaDB(context.Background()) })
	if maria.err != nil {
		t.Fatal(maria.err)
	}
	maria.mu.Lock()
	maria.made++
	name := fmt.Sprintf("test%d", maria.made)
	maria.mu.Unlock()
	statement := "CREATE DATABASE " + name
	if charset != "" {
		statement += " CHARACTER SET " + charset
	}
	if err := maria.db.Exec(t.Context(), "", statement); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := maria.db.Exec(ctx, "", "DROP DATABASE "+name); err != nil {
			t.Error(err)
		}
	})
	return maria.db.URL(name)
}

// OfMariaDB opens a database that NewMariaDB has made, as a client does that speaks UTF-8. It is closed with the
// test.
func OfMariaDB(t testing.TB, url string) *sql.DB {
	t.Helper()
	db, err := maria.db.open(url[len(maria.db.URL("")):])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// URL returns the URL of a database.
func (m *MariaDB) URL(database string) string {
	return fmt.Sprintf("mysql://%s:%s@127.0.0.1:%d/%s", User, Password, m.port, database)
}

// MariaDBSocket returns the Unix socket of the package's MariaDB, once NewMariaDB was called.
func MariaDBSocket() string { return filepath.Join(maria.db.dir, "sock") }

// startMariaDB makes a new server. It runs as the user mysql if this process is root's, and ends with it.
func startMariaDB(ctx context.Context) (*MariaDB, error) {
	dir, err := os.MkdirTemp("", "imcd-mariadb-")
	if err != nil {
		return nil, fmt.Errorf("folder of MariaDB: %w", err)
	}
	m := &MariaDB{dir: dir}
	if err := m.start(ctx); err != nil {
		return nil, errors.Join(err, m.stop())
	}
	return m, nil
}

func (m *MariaDB) start(ctx context.Context) error {
	cred, err := credentialOf("mysql")
	if err != nil {
		return err
	}
	if cred != nil {
		if err := os.Chown(m.dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return fmt.Errorf("folder of MariaDB: %w", err)
		}
	}
	if m.port, err = freePort(); err != nil {
		return err
	}
	data := "--datadir=" + filepath.Join(m.dir, "data")
	install := exec.CommandContext(ctx, "mariadb-install-db", "--no-defaults", data, "--skip-test-db",
		"--auth-root-authentication-method=normal", "--skip-name-resolve")
	install.Dir = m.dir
	install.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGKILL}
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("mariadb-install-db: %w: %s", err, out)
	}
	init := filepath.Join(m.dir, "init.sql")
	grant := fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY '%s';\nGRANT ALL ON *.* TO '%[1]s'@'%%';\n", User, Password)
	if err := os.WriteFile(init, []byte(grant), 0o644); err != nil {
		return fmt.Errorf("first statements of MariaDB: %w", err)
	}
	// Fast, because a crash of the machine would lose its data.
	cmd := exec.Command("mariadbd", "--no-defaults", data, "--socket="+filepath.Join(m.dir, "sock"),
		"--bind-address=127.0.0.1", fmt.Sprint("--port=", m.port), "--skip-name-resolve", "--init-file="+init,
		"--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=128M",
		"--pid-file="+filepath.Join(m.dir, "pid"))
	cmd.Dir = m.dir
	log, err := os.Create(filepath.Join(m.dir, "log"))
	if err != nil {
		return fmt.Errorf("log of MariaDB: %w", err)
	}
	defer log.Close() // the server has its own copy
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGKILL}
	if m.proc, err = child.Start(cmd, true); err != nil {
		return err
	}
	return m.ready(ctx)
}

// ready waits until the server takes connections.
func (m *MariaDB) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := m.Exec(ctx, "", "DO 1")
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-m.proc.Done():
			return fmt.Errorf("MariaDB ended at its start: %s", m.logTail())
		case <-ctx.Done():
			return fmt.Errorf("MariaDB is not ready: %w: %s", err, m.logTail())
		}
	}
}

func (m *MariaDB) logTail() string {
	text, err := os.ReadFile(filepath.Join(m.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

func (m *MariaDB) open(database string) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = User, Password, database
	cfg.Net, cfg.Addr = "tcp", fmt.Sprint("127.0.0.1:", m.port)
	cfg.MultiStatements, cfg.Logger = true, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("configure the client of MariaDB: %w", err)
	}
	return sql.OpenDB(connector), nil
}

// Exec runs statements in a database; empty: in none.
func (m *MariaDB) Exec(ctx context.Context, database, statements string) error {
	db, err := m.open(database)
	if err != nil {
		return err
	}
	defer db.Close() // the statement's outcome is known by then
	if _, err := db.ExecContext(ctx, statements); err != nil {
		return fmt.Errorf("run SQL in MariaDB's database %s: %w", database, err)
	}
	return nil
}

func (m *MariaDB) stop() error {
	var err error
	if m.proc != nil {
		err = m.proc.Kill()
	}
	return errors.Join(err, os.RemoveAll(m.dir))
}

func (s *sharedMaria) stop() error {
	s.once.Do(func() { s.err = errors.New("the tests are over") })
	if s.db == nil {
		return nil
	}
	return s.db.stop()
}
