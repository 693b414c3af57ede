package schematest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"imcd/evapi/evapitest/child"
	"imcd/evapi/evapitest/kit"
)

// patroniTimeout bounds what a cluster does by itself.
const patroniTimeout = 90 * time.Second

// Cluster is some PostgreSQL servers that Patroni watches over, by etcd: one is the primary, and a standby
// confirms each commit. Its times are the shortest that Patroni takes, which OPERATING.md recommends. It is for one
// goroutine.
type Cluster struct {
	t     testing.TB
	dir   string
	bin   string // folder of PostgreSQL's programs
	etcd  int    // its port
	nodes []*Node
}

// Node is a host of a Cluster: Patroni and its server.
type Node struct {
	c          *Cluster
	name       string
	port, rest int // of PostgreSQL and of Patroni
	patroni    *child.Child
}

// NewCluster starts a cluster for one test. It returns when there are a primary and a synchronous standby.
func NewCluster(t testing.TB, nodes int) *Cluster {
	t.Helper()
	bin, err := findPrograms()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "imcd-patroni-")
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{t: t, dir: dir, bin: bin}
	t.Cleanup(func() {
		if t.Failed() {
			c.logTails()
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if cred, err := credential(); err != nil {
		t.Fatal(err)
	} else if cred != nil {
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	c.startEtcd()
	for i := range nodes {
		n := &Node{c: c, name: fmt.Sprint("n", i+1), port: c.freePort(), rest: c.freePort()}
		c.nodes = append(c.nodes, n)
		n.configure()
		n.Start()
		t.Cleanup(n.stop)
	}
	c.AwaitStandbys(nodes - 1)
	return c
}

func (c *Cluster) freePort() int {
	c.t.Helper()
	port, err := freePort()
	if err != nil {
		c.t.Fatal(err)
	}
	return port
}

// run starts a program that does not need to be root; its output goes to a file of the cluster.
func (c *Cluster) run(log, program string, args ...string) *child.Child {
	c.t.Helper()
	cred, err := credential()
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := os.OpenFile(filepath.Join(c.dir, log), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		c.t.Fatal(err)
	}
	defer out.Close() // the program has its own copy
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	p, err := child.Start(cmd, true)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func (c *Cluster) startEtcd() {
	c.t.Helper()
	c.etcd = c.freePort()
	url, peers := fmt.Sprint("http://127.0.0.1:", c.etcd), fmt.Sprint("http://127.0.0.1:", c.freePort())
	p := c.run("etcd.log", "etcd", "--data-dir", filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peers,
		"--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers)
	c.t.Cleanup(func() { c.end(p) })
	kit.Until(c.t, kit.Within(c.t, patroniTimeout), "etcd is ready", func() bool {
		_, err := c.ask(http.MethodGet, url+"/health", "")
		return err == nil
	})
}

// end ends a process, by SIGKILL if it takes too long.
func (c *Cluster) end(p *child.Child) {
	_ = p.Signal(syscall.SIGTERM) // it may have ended
	if p.Await(20*time.Second) == nil {
		return
	}
	if err := p.Kill(); err != nil {
		c.t.Error(err)
	}
}

func (n *Node) configure() {
	n.c.t.Helper()
	const settings = `scope: imcd
name: %[1]s
restapi: {listen: "127.0.0.1:%[2]d", connect_address: "127.0.0.1:%[2]d"}
etcd3: {host: "127.0.0.1:%[3]d"}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 3
    primary_start_timeout: 0
    synchronous_mode: true
    synchronous_mode_strict: true
    postgresql:
      use_pg_rewind: true
      parameters: {fsync: "off", full_page_writes: "on", max_connections: 60, shared_buffers: 64MB,
        wal_log_hints: "on", wal_retrieve_retry_interval: 500ms}
  initdb: [{encoding: UTF8}, {locale: C.UTF-8}, no-sync]
postgresql:
  listen: "127.0.0.1:%[4]d"
  connect_address: "127.0.0.1:%[4]d"
  data_dir: %[5]s
  bin_dir: %[6]s
  parameters: {unix_socket_directories: %[7]s, logging_collector: "off"}
  pgpass: %[8]s
  authentication:
    superuser: {username: %[9]s, password: %[10]s}
    replication: {username: replicator, password: %[10]s}
  pg_hba: ["local all all scram-sha-256", "host all all 127.0.0.1/32 scram-sha-256",
    "host replication all 127.0.0.1/32 scram-sha-256"]
`
	text := fmt.Sprintf(settings, n.name, n.rest, n.c.etcd, n.port, n.data(), n.c.bin, n.c.dir,
		filepath.Join(n.c.dir, n.name+".pgpass"), User, Password)
	if err := os.WriteFile(n.file(), []byte(text), 0o644); err != nil {
		n.c.t.Fatal(err)
	}
}

func (n *Node) file() string { return filepath.Join(n.c.dir, n.name+".yml") }
func (n *Node) data() string { return filepath.Join(n.c.dir, n.name) }

// Name is how the cluster calls n.
func (n *Node) Name() string { return n.name }

func (n *Node) addr() string { return fmt.Sprint("127.0.0.1:", n.port) }

// URL returns the db_url of a database that names n alone.
func (n *Node) URL(database string) string { return Hosts(database, n) }

// Exec runs statements without parameters in a database of n.
func (n *Node) Exec(ctx context.Context, database, statements string) error {
	return execURL(ctx, n.URL(database), statements)
}

// URL returns the db_url of a database that names all nodes.
func (c *Cluster) URL(database string) string {
	hosts := make([]Host, len(c.nodes))
	for i, n := range c.nodes {
		hosts[i] = n
	}
	return Hosts(database, hosts...)
}

// Start starts Patroni, which starts its server.
func (n *Node) Start() { n.patroni = n.c.run(n.name+".log", "patroni", n.file()) }

// postgres lists the processes of its server, the parent of all others first; none: it does not run.
func (n *Node) postgres() []int {
	text, err := os.ReadFile(filepath.Join(n.data(), "postmaster.pid"))
	if err != nil {
		return nil
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || gone(pid) {
		return nil
	}
	children, err := childrenOf(pid)
	if err != nil {
		return nil
	}
	return append([]int{pid}, children...)
}

// signalServer signals all processes of the server.
func (n *Node) signalServer(sig syscall.Signal) {
	for _, pid := range n.postgres() {
		_ = syscall.Kill(pid, sig) // some end by themselves
	}
}

// KillServer kills all processes of the server at once, and leaves Patroni.
func (n *Node) KillServer() {
	n.c.t.Helper()
	pids := n.postgres()
	if len(pids) == 0 {
		n.c.t.Fatalf("the server of %s does not run", n.name)
	}
	_ = syscall.Kill(pids[0], syscall.SIGSTOP) // so that it starts no more
	n.signalServer(syscall.SIGKILL)
	if err := waitGone(pids); err != nil {
		n.c.t.Error(err)
	}
}

// Kill kills Patroni and the server, as the loss of a host would.
func (n *Node) Kill() {
	n.c.t.Helper()
	if err := n.patroni.End(syscall.SIGKILL, child.Patience); err != nil {
		n.c.t.Error(err)
	}
	n.KillServer()
}

// Freeze stops Patroni and the server until Thaw.
func (n *Node) Freeze() {
	_ = syscall.Kill(n.patroni.Pid, syscall.SIGSTOP)
	n.signalServer(syscall.SIGSTOP)
}

// Thaw ends a Freeze.
func (n *Node) Thaw() {
	n.signalServer(syscall.SIGCONT)
	_ = syscall.Kill(n.patroni.Pid, syscall.SIGCONT)
}

// stop ends everything of n.
func (n *Node) stop() {
	n.Thaw()
	n.c.end(n.patroni)
	if pids := n.postgres(); len(pids) > 0 { // Patroni was killed
		n.KillServer()
	}
}

// member is a node as Patroni shows it.
type member struct{ Name, Role, State string }

// members asks the first Patroni that answers, but for that of one node.
func (c *Cluster) members(without *Node) (all []member) {
	for _, n := range c.nodes {
		if n == without {
			continue
		}
		text, err := c.ask(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/cluster", n.rest), "")
		if err != nil {
			continue
		}
		var got struct{ Members []member }
		if json.Unmarshal(text, &got) == nil && len(got.Members) > 0 {
			return got.Members
		}
	}
	return nil
}

// Primary returns the node that is the primary, as the others but for one, which may be nil, see it; nil: there
// is none.
func (c *Cluster) Primary(without *Node) *Node {
	for _, m := range c.members(without) {
		if m.Role != "leader" || m.State != "running" {
			continue
		}
		for _, n := range c.nodes {
			if n.name == m.Name && n != without {
				return n
			}
		}
	}
	return nil
}

// AwaitPrimary waits until another node than old is the primary, and a standby has confirmed a commit of it,
// which may be a while later.
func (c *Cluster) AwaitPrimary(old *Node) (primary *Node, promoted time.Time) {
	c.t.Helper()
	kit.Until(c.t, kit.Within(c.t, patroniTimeout), "there is another primary", func() bool {
		primary = c.Primary(old)
		return primary != nil
	})
	promoted = time.Now()
	kit.Until(c.t, kit.Within(c.t, patroniTimeout), "it takes commits", func() bool {
		// One that is canceled would count as done, so it has all the time that there is.
		return primary.Exec(kit.Within(c.t, patroniTimeout), "postgres",
			"SELECT pg_logical_emit_message(true, 'imcd', 'a commit')") == nil
	})
	return primary, promoted
}

// AwaitStandbys waits until some standbys follow the primary, of which one confirms each commit.
func (c *Cluster) AwaitStandbys(number int) {
	c.t.Helper()
	kit.Until(c.t, kit.Within(c.t, patroniTimeout), fmt.Sprint(number, " standbys follow"), func() bool {
		follow, confirm := 0, 0
		for _, m := range c.members(nil) {
			if m.Role != "leader" && (m.State == "running" || m.State == "streaming") {
				follow++
			}
			if m.Role == "sync_standby" {
				confirm++
			}
		}
		return c.Primary(nil) != nil && follow == number && confirm == 1
	})
}

// Switchover lets a standby become the primary, in good order.
func (c *Cluster) Switchover() {
	c.t.Helper()
	old := c.Primary(nil)
	if old == nil {
		c.t.Fatal("there is no primary")
	}
	text, err := c.ask(http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/switchover", old.rest),
		fmt.Sprintf(`{"leader": %q}`, old.name))
	if err != nil {
		c.t.Fatalf("switchover: %v: %s", err, text)
	}
}

// ask asks etcd or Patroni.
func (c *Cluster) ask(method, url, body string) ([]byte, error) {
	wait := time.Second
	if method == http.MethodPost {
		wait = patroniTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewBufferString(body))
	if err != nil {
		return nil, err
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() // it was only read
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return text, err
}

// logTails shows what Patroni and etcd have logged last.
func (c *Cluster) logTails() {
	logs, _ := filepath.Glob(filepath.Join(c.dir, "*.log")) // the pattern is right
	for _, log := range logs {
		if text, err := os.ReadFile(log); err == nil {
			c.t.Logf("%s:\n%s", filepath.Base(log), text[max(0, len(text)-3000):])
		}
	}
}
