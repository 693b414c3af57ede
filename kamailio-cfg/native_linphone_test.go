package kamailiocfg_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// linphone is a client of Debian's liblinphone, with group chats.
type linphone struct {
	t    *testing.T
	name string
	uuid string
	dir  string
	cmd  *exec.Cmd
	in   io.WriteCloser
	done chan struct{}

	mu    sync.Mutex
	lines []string
}

const linphoneAccount = `[sip]
bind_address=127.0.0.1
sip_port=-1
sip_tcp_port=-1
sip_tls_port=-1
use_ipv6=0
verify_server_certs=0
verify_server_cn=0
guess_hostname=0
default_proxy=0
register_only_when_network_is_up=0
keepalive_period=0
[net]
firewall_policy=0
dns_srv_enabled=0
[rtp]
audio_rtp_port=-1
[misc]
uuid=%[6]s
[storage]
uri=%[5]s/linphone.db
[proxy_0]
reg_proxy=<sip:%[2]s;transport=%[3]s>
reg_route=<sip:%[2]s;transport=%[3]s;lr>
reg_identity=<sip:%[1]s@chat.test>
reg_sendregister=1
reg_expires=3600
publish=0
conference_factory_uri=sip:conference-factory@chat.test
[auth_info_0]
username=%[1]s
passwd=%[4]s
realm=chat.test
domain=chat.test
`

// newLinphone is a client that is switched on.
func newLinphone(t *testing.T, proxy, user, password, transport string) *linphone {
	t.Helper()
	l := &linphone{t: t, name: user, dir: t.TempDir()}
	// Linphone makes one by itself, and writes it some time later: killed before that, it would be another device.
	u := rand.Text()
	l.uuid = fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
	account := fmt.Sprintf(linphoneAccount, user, proxy, transport, password, l.dir, l.uuid)
	if err := os.WriteFile(filepath.Join(l.dir, "linphonerc"), []byte(account), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(l.dir, ".local/share/linphone"), 0o700); err != nil {
		t.Fatal(err)
	}
	l.start()
	t.Cleanup(func() {
		l.stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", user, strings.Join(l.news(), "\n"))
		}
	})
	return l
}

func (l *linphone) start() {
	l.t.Helper()
	l.cmd = exec.Command("/usr/bin/python3", "testdata/linphone.py", l.dir)
	l.cmd.Env = append(os.Environ(), "HOME="+l.dir)
	l.cmd.Stderr = os.Stderr
	var err error
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		l.t.Fatal(err)
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.done = make(chan struct{})
	go func() {
		defer close(l.done)
		for s := bufio.NewScanner(out); s.Scan(); {
			l.mu.Lock()
			l.lines = append(l.lines, s.Text())
			l.mu.Unlock()
		}
	}()
	l.await("registration\t2")
}

func (l *linphone) stop() {
	if l.cmd == nil {
		return
	}
	_ = l.in.Close()
	<-l.done
	_ = l.cmd.Wait()
	l.cmd = nil
}

func (l *linphone) said() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

// news are the lines, without those that repeat themselves.
func (l *linphone) news() []string {
	var list []string
	for _, s := range l.said() {
		if s != "end" && (len(list) == 0 || list[len(list)-1] != s) {
			list = append(list, s)
		}
	}
	return list
}

func (l *linphone) do(words ...string) {
	l.t.Helper()
	if _, err := io.WriteString(l.in, strings.Join(words, "\t")+"\n"); err != nil {
		l.t.Fatal(err)
	}
}

// await waits for a line.
func (l *linphone) await(line string) {
	l.t.Helper()
	kit.Until(l.t, kit.Within(l.t, linphonePatience), l.name+" says "+line, func() bool {
		for _, s := range l.said() {
			if s == line {
				return true
			}
		}
		return false
	})
}

const linphonePatience = kit.Patience / 4

// linphoneRoom is a room that a client has.
type linphoneRoom struct {
	address, title string
	members        string // an admin with *, or "left"
}

// rooms are the rooms that a client has.
func (l *linphone) rooms(ctx context.Context) (list []linphoneRoom) {
	l.t.Helper()
	n := len(l.said())
	l.do("rooms")
	kit.Until(l.t, ctx, l.name+" lists its rooms", func() bool {
		list = nil
		for _, s := range l.said()[n:] {
			f := strings.Split(s, "\t")
			if f[0] == "room" && len(f) == 6 {
				r := linphoneRoom{address: f[1], title: f[2], members: f[5]}
				if f[4] == "True" {
					r.members = "left"
				}
				list = append(list, r)
			}
			if s == "end" {
				return true
			}
		}
		return false
	})
	return list
}

// address is the address of the room with a title.
func (l *linphone) address(title string) string {
	l.t.Helper()
	for _, s := range l.said() {
		if f := strings.Split(s, "\t"); f[0] == "room" && f[2] == title {
			return f[1]
		}
	}
	l.t.Fatalf("%s has no room %s", l.name, title)
	return ""
}

// sees waits until a client has a room with a title and members.
func (l *linphone) sees(title, members string) {
	l.t.Helper()
	var list []linphoneRoom
	ctx := kit.Within(l.t, linphonePatience)
	l.t.Cleanup(func() {
		if l.t.Failed() {
			l.t.Logf("%s has %q", l.name, list)
		}
	})
	kit.Until(l.t, ctx, fmt.Sprintf("%s sees %s: %s", l.name, title, members), func() bool {
		list = l.rooms(ctx)
		return slices.ContainsFunc(list, func(r linphoneRoom) bool { return r.title == title && r.members == members })
	})
}

// TestNativeLinphone: a group is made, changed and left in Linphone.
func TestNativeLinphone(t *testing.T) {
	native, err := evapitest.NativeDiff()
	if err != nil {
		t.Fatal(err)
	}
	c := &chat{k: kit.Kamailio(t, evapitest.Options{Config: stockConfig(t, append(readmeDiffs(t), native)...),
		Local: authLocal(t) + "alias=\"chat.test\"\n#!define IMC_NATIVE\n#!define IMC_DIRECT \"location\"\n"}),
		dir: programs.Folder(t)}
	c.imcd = imcdtest.Beside(t, c.k, imcdtest.Options{Dir: c.dir})
	alice := newLinphone(t, c.k.SIPAddr(), "alice", "a-secret", "udp")
	bob := newLinphone(t, c.k.SIPAddr(), "bob", "b-secret", "tcp")
	const both = "sip:alice@chat.test* sip:bob@chat.test"
	alice.do("create", "Growers", "sip:bob@chat.test")
	alice.sees("Growers", both)
	bob.sees("Growers", both)
	alice.do("title", "Growers", "Tomatoes")
	bob.sees("Tomatoes", both)
	alice.do("admin", "Tomatoes", "sip:bob@chat.test", "1")
	bob.sees("Tomatoes", "sip:alice@chat.test* sip:bob@chat.test*")
	carol := kit.Registered(t, c.k, evapitest.UAConfig{User: "carol", Domain: "chat.test", Password: "c-secret"})
	bob.do("add", "Tomatoes", "sip:carol@chat.test")
	const all = "sip:alice@chat.test* sip:bob@chat.test* sip:carol@chat.test"
	alice.sees("Tomatoes", all)
	bob.sees("Tomatoes", all)
	room := alice.address("Tomatoes")
	alice.do("say", "Tomatoes", "hello")
	bob.await("message\t" + room + "\tsip:alice@chat.test\thello")
	alice.await("state\thello\t6") // delivered to the user
	bob.do("read", "Tomatoes")
	alice.await("read\thello\tsip:bob@chat.test")
	kit.Say(t, carol, room, "hello yourself", 200)
	alice.await("message\t" + room + "\tsip:carol@chat.test\thello yourself")
	bob.await("message\t" + room + "\tsip:carol@chat.test\thello yourself")
	kit.Eventually(t, "carol has alice's text", func() bool {
		return slices.ContainsFunc(carol.Received(), func(r evapitest.Received) bool { return r.Text() == "[alice]: hello" })
	})
	bob.stop()
	alice.do("say", "Tomatoes", "while bob is away")
	alice.do("title", "Tomatoes", "Ripe tomatoes")
	alice.sees("Ripe tomatoes", all)
	if err := c.imcd.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.imcd.Start(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	bob.start()
	bob.await("message\t" + room + "\tsip:alice@chat.test\twhile bob is away")
	bob.sees("Ripe tomatoes", all)
	alice.do("leave", "Ripe tomatoes")
	bob.sees("Ripe tomatoes", "sip:bob@chat.test* sip:carol@chat.test")
	alice.sees("Ripe tomatoes", "left")
	bob.do("remove", "Ripe tomatoes", "sip:carol@chat.test")
	bob.sees("Ripe tomatoes", "sip:bob@chat.test*")
	kit.Say(t, carol, room, "still there?", 403)
}
