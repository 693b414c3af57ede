package kamailiocfg_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"imcd/evapi/evapitest/kit"
)

// inNamespace names the directory that a test gets which runs in a network of its own.
const inNamespace = "IMCD_TEST_NAMESPACE"

// farAddress is an address in that network that is not loopback.
const farAddress = "192.0.2.10"

// namespaced runs the test once more in a network namespace, where its own name server
// is the only one, and returns "" when that has ended. In there it returns the directory
// with imcd. It needs root, or sudo that asks for nothing.
func namespaced(t *testing.T) (dir string) {
	t.Helper()
	if dir = os.Getenv(inNamespace); dir != "" {
		return dir
	}
	dir = programs.Folder(t)
	// As it is by default: each query is waited for 5 s, twice.
	if err := os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const script = `ip link set lo up && ip address add ` + farAddress + `/32 dev lo &&
		mount --bind "$` + inNamespace + `/resolv.conf" /etc/resolv.conf && exec "$@"`
	kit.InNamespace(t, inNamespace+"="+dir, script)
	return ""
}

// nameServer answers what it knows, and says of all else that there is no such name, but
// swallows queries for slow….example.
type nameServer struct {
	conn net.PacketConn
	done sync.WaitGroup

	mu        sync.Mutex
	servers   map[string]uint16 // guarded by mu: ports of SIP servers at farAddress, by domain
	swallowed map[string]int    // guarded by mu: queries by domain
}

func startNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, servers: make(map[string]uint16), swallowed: make(map[string]int)}
	s.done.Go(s.serve)
	t.Cleanup(func() {
		conn.Close()
		s.done.Wait()
	})
	return s
}

func (s *nameServer) set(domain string, port uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers[domain] = port
}

// asked counts the queries that were swallowed.
func (s *nameServer) asked() (names, queries int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.swallowed {
		queries += n
	}
	return len(s.swallowed), queries
}

func (s *nameServer) serve() {
	buf := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer := s.answer(buf[:n]); answer != nil {
			_, _ = s.conn.WriteTo(answer, from)
		}
	}
}

// answer makes the answer to a query; nil: none.
func (s *nameServer) answer(query []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	name := strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")
	domain := name
	for _, service := range []string{"_sip._udp.", "_sip._tcp.", "_sips._tcp."} {
		domain = strings.TrimPrefix(domain, service)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(domain, "slow") {
		s.swallowed[domain]++
		return nil
	}
	msg := dnsmessage.Message{Header: dnsmessage.Header{ID: h.ID, Response: true, RecursionAvailable: true,
		RecursionDesired: true},
		Questions: []dnsmessage.Question{q}}
	rh := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60}
	port, known := s.servers[domain]
	switch {
	case known && q.Type == dnsmessage.TypeSRV && strings.HasPrefix(name, "_sip._udp."):
		msg.Answers = append(msg.Answers, dnsmessage.Resource{Header: rh,
			Body: &dnsmessage.SRVResource{Port: port, Target: dnsmessage.MustNewName(domain + ".")}})
	case known && q.Type == dnsmessage.TypeA && name == domain:
		var a dnsmessage.AResource
		copy(a.A[:], net.ParseIP(farAddress).To4())
		msg.Answers = append(msg.Answers, dnsmessage.Resource{Header: rh, Body: &a})
	case !known:
		msg.RCode = dnsmessage.RCodeNameError
	}
	out, err := msg.Pack()
	if err != nil {
		return nil
	}
	return out
}

// authText is authLocal with a text file instead of a database: alice and bob.
func authText(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"version": "table_name(string) table_version(int)\nsubscriber:7\n",
		"subscriber": "id(int,auto) username(string) domain(string) password(string) ha1(string,null) " +
			"ha1b(string,null)\n" +
			"1:alice:chat.test:a-secret::\n2:bob:chat.test:b-secret::\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("#!define WITH_AUTH\n#!define DBURL \"text://%s\"\nloadmodule \"db_text.so\"\n", dir)
}
