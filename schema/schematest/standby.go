package schematest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// NewPair starts a server and a standby that follows it for one test: once it returns, each
// commit waits until the standby has it. Both take connections, and end with the test.
func NewPair(t testing.TB, opts Options) (primary, standby *Postgres) {
	t.Helper()
	primary = New(t, opts)
	standby, err := primary.StartStandby(t.Context(), tempDir(t, "standby"))
	if err != nil {
		t.Fatal(err)
	}
	ends(t, standby)
	return primary, standby
}

// StartStandby makes a standby of p in dir, as StartPostgres does with a server, and returns when it takes
// connections and each commit of p waits until it has it.
func (p *Postgres) StartStandby(ctx context.Context, dir string) (*Postgres, error) {
	s, err := p.startStandby(ctx, dir)
	if err != nil {
		return nil, err
	}
	if err := p.followed(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (p *Postgres) startStandby(ctx context.Context, dir string) (*Postgres, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &Postgres{dir: dir, bin: p.bin, port: port, opts: p.opts}
	cred, err := credential()
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(s.SocketDir(), 0o755); err != nil {
		return nil, fmt.Errorf("prepare the standby: %w", err)
	}
	if cred != nil {
		for _, path := range []string{dir, s.SocketDir()} {
			if err := os.Chown(path, int(cred.Uid), int(cred.Gid)); err != nil {
				return nil, fmt.Errorf("give %s to PostgreSQL: %w", path, err)
			}
		}
	}
	cmd, err := s.command(ctx, "pg_basebackup", "-D", filepath.Join(dir, "data"), "-R", "--checkpoint=fast",
		"--no-sync", "-d", fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s sslmode=disable",
			p.port, User, Password))
	if err != nil {
		return nil, err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("pg_basebackup: %w: %s", err, out)
	}
	// The last of two settings counts.
	own := fmt.Sprintf("port = %d\nunix_socket_directories = '%s'\n", port, s.SocketDir())
	if err := appendFile(filepath.Join(dir, "data", "postgresql.conf"), own); err != nil {
		return nil, fmt.Errorf("configure the standby: %w", err)
	}
	return s, s.start(ctx)
}

func appendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		_ = f.Close() // the first error tells more
		return err
	}
	return f.Close()
}

// followed makes all commits wait for a standby, and waits until there is one.
func (p *Postgres) followed(ctx context.Context) error {
	// Statements of one string would be one transaction, in which ALTER SYSTEM cannot be.
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		if err := p.Exec(ctx, "postgres", statement); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.Exec(ctx, "postgres", "SELECT 1 / count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("no standby follows: %w: %s", err, p.logTail())
		}
	}
}

// Promote makes a standby the primary, and returns when it is.
func (p *Postgres) Promote(ctx context.Context) error {
	return p.Exec(ctx, "postgres", "SELECT 1 / pg_promote(true, 30)::int")
}

// Host is where a database may be: a Postgres, or a Proxy of one.
type Host interface{ addr() string }

// Hosts returns the db_url of a database that names one or several servers.
func Hosts(database string, servers ...Host) string {
	url := fmt.Sprintf("postgres://%s:%s@", User, Password)
	for i, s := range servers {
		if i > 0 {
			url += ","
		}
		url += s.addr()
	}
	return url + "/" + database
}
