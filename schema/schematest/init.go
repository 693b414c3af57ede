package schematest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lib/pq"

	"imcd/evapi/evapitest/child"
)

// init makes the server's files.
func (p *Postgres) init(ctx context.Context) error {
	cred, err := credential()
	if err != nil {
		return err
	}
	secret := filepath.Join(p.dir, "password")
	if err := os.WriteFile(secret, []byte(Password), 0o600); err != nil {
		return fmt.Errorf("prepare PostgreSQL: %w", err)
	}
	if err := os.Mkdir(p.SocketDir(), 0o755); err != nil {
		return fmt.Errorf("prepare PostgreSQL: %w", err)
	}
	if cred != nil {
		for _, path := range []string{p.dir, secret, p.SocketDir()} {
			if err := os.Chown(path, int(cred.Uid), int(cred.Gid)); err != nil {
				return fmt.Errorf("give %s to PostgreSQL: %w", path, err)
			}
		}
	}
	return p.makeFiles(ctx, secret)
}

// makeFiles makes data/: as a copy of another server's, which was never started, or by initdb. secret is a file with
// the password.
func (p *Postgres) makeFiles(ctx context.Context, secret string) error {
	data := filepath.Join(p.dir, "data")
	program, args := "initdb", []string{"-D", data, "-U", User, "--pwfile", secret, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"}
	if p.template != "" {
		program, args = "cp", []string{"-R", p.template, data}
	}
	cmd, err := p.command(ctx, program, args...)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}

// configure appends to the postgresql.conf that initdb made.
func (p *Postgres) configure() error {
	cred, err := credential()
	if err != nil {
		return err
	}
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(p.port),
		"unix_socket_directories": p.SocketDir(), "logging_collector": "off",
		"max_connections": "60", "shared_buffers": "64MB",
	}
	if !p.opts.Fsync {
		settings["fsync"], settings["full_page_writes"] = "off", "off"
	}
	if p.opts.TLS {
		if err := p.certificate(cred); err != nil {
			return err
		}
		settings["ssl"] = "on"
	}
	maps.Copy(settings, p.opts.Settings)
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s = '%s'\n", key, strings.ReplaceAll(settings[key], "'", "''"))
	}
	f, err := os.OpenFile(filepath.Join(p.dir, "data", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("configure PostgreSQL: %w", err)
	}
	if _, err := f.WriteString(text.String()); err != nil {
		_ = f.Close()
		return fmt.Errorf("configure PostgreSQL: %w", err)
	}
	return f.Close()
}

// command prepares a program of PostgreSQL, not as root.
func (p *Postgres) command(ctx context.Context, program string, args ...string) (*exec.Cmd, error) {
	cred, err := credential()
	if err != nil {
		return nil, err
	}
	if path := filepath.Join(p.bin, program); program != "cp" {
		program = path
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = p.dir
	// Settings for clients in our environment are not meant for this server.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "PG") })
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}

// credential returns whom to run PostgreSQL as; nil: ourselves.
func credential() (*syscall.Credential, error) { return credentialOf("postgres") }

// credentialOf returns whom to run a server as that refuses to run as root: the user of that name, or nobody.
func credentialOf(name string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("the server does not run as root: %w", err)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user id of %s: %w", u.Username, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("group id of %s: %w", u.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// Exec runs statements without parameters in a database.
func (p *Postgres) Exec(ctx context.Context, database, statements string) error {
	if err := execURL(ctx, p.URL(database), statements); err != nil {
		return fmt.Errorf("run SQL in database %s: %w", database, err)
	}
	return nil
}

// execURL runs statements in the database of a db_url.
func execURL(ctx context.Context, url, statements string) error {
	cfg, err := pq.NewConfig(url + "?sslmode=disable&connect_timeout=5")
	if err != nil {
		return fmt.Errorf("configure the client: %w", err)
	}
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return fmt.Errorf("configure the client: %w", err)
	}
	db := sql.OpenDB(connector)
	defer db.Close() // the statement's outcome is known by then
	_, err = db.ExecContext(ctx, statements)
	return err
}

// childrenOf lists the children of a process.
func childrenOf(pid int) ([]int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil, fmt.Errorf("list the processes of PostgreSQL: %w", err)
	}
	var list []int
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("list the processes of PostgreSQL: %w", err)
		}
		list = append(list, pid)
	}
	return list, nil
}

// waitGone waits until processes that were asked to end have done so: they hold
// memory that keeps the server from starting again.
func waitGone(pids []int) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(child.Patience)
	for _, pid := range pids {
		for !gone(pid) {
			if time.Now().After(deadline) {
				return fmt.Errorf("process %d of PostgreSQL did not end within %v", pid, child.Patience)
			}
			<-tick.C
		}
	}
	return nil
}

// gone reports whether a process has ended, though nobody may have asked how.
func gone(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}

// certificate makes the server's key and a certificate that it signs itself.
func (p *Postgres) certificate(cred *syscall.Credential) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), DNSNames: []string{"localhost"}}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode a key: %w", err)
	}
	for name, block := range map[string]*pem.Block{
		"server.crt": {Type: "CERTIFICATE", Bytes: cert}, "server.key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		path := filepath.Join(p.dir, "data", name)
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if cred != nil {
			if err := os.Chown(path, int(cred.Uid), int(cred.Gid)); err != nil {
				return fmt.Errorf("give %s to PostgreSQL: %w", name, err)
			}
		}
	}
	return nil
}
