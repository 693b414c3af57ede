package schematest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"imcd/evapi/evapitest/child"
)

// PgBouncer is a connection pooler in front of a server, as Debian packages it, in
// transaction mode: each transaction may get another connection of the server.
type PgBouncer struct {
	port int
	proc *child.Child
}

// pgBouncerConfig is all that it needs.
const pgBouncerConfig = `[databases]
* = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = plain
auth_file = %s
pool_mode = transaction
default_pool_size = 5
max_client_conn = 200
server_tls_sslmode = disable
`

// NewPgBouncer starts a pooler for one test, which may stop it. It ends with the test.
func NewPgBouncer(t testing.TB, pg *Postgres) *PgBouncer {
	t.Helper()
	b, err := startPgBouncer(t.Context(), tempDir(t, "pgbouncer"), pg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func startPgBouncer(ctx context.Context, dir string, pg *Postgres) (*PgBouncer, error) {
	program, err := exec.LookPath("/usr/sbin/pgbouncer")
	if err != nil {
		return nil, fmt.Errorf("PgBouncer is not installed: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	users, config := filepath.Join(dir, "users"), filepath.Join(dir, "pgbouncer.ini")
	for path, text := range map[string]string{users: fmt.Sprintf("%q %q\n", User, Password),
		config: fmt.Sprintf(pgBouncerConfig, pg.Port(), port, users)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("configure PgBouncer: %w", err)
		}
	}
	cred, err := credential()
	if err != nil {
		return nil, err
	}
	if cred != nil {
		for _, path := range []string{dir, users, config} {
			if err := os.Chown(path, int(cred.Uid), int(cred.Gid)); err != nil {
				return nil, fmt.Errorf("give %s to PgBouncer: %w", path, err)
			}
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, fmt.Errorf("log of PgBouncer: %w", err)
	}
	defer log.Close() // the pooler has its own copy
	cmd := exec.Command(program, config)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGKILL}
	b := &PgBouncer{port: port}
	if b.proc, err = child.Start(cmd, true); err != nil {
		return nil, err
	}
	if err := b.ready(ctx); err != nil {
		text, _ := os.ReadFile(log.Name()) // the error alone is better than none
		return nil, errors.Join(fmt.Errorf("%w: %s", err, text), b.Stop())
	}
	return b, nil
}

// ready waits until the pooler passes a statement on.
func (b *PgBouncer) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := execURL(ctx, b.URL("postgres"), "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-b.proc.Done():
			return fmt.Errorf("PgBouncer ended at its start: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("PgBouncer is not ready: %w", err)
		}
	}
}

// URL returns the db_url of a database behind the pooler.
func (b *PgBouncer) URL(database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s", User, Password, b.port, database)
}

// Stop ends the pooler and waits for it.
func (b *PgBouncer) Stop() error { return b.proc.End(syscall.SIGKILL, child.Patience) }
