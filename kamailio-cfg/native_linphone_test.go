package kamailiocfg_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imcd/evapi"
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

	mayCrash bool // a crash of the client is a restart of it, and no failure
	crashes  int

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
	l.cmd.Env = append(os.Environ(), "HOME="+l.dir, "PYTHONFAULTHANDLER=1") // says where it has crashed
	complaints, err := os.OpenFile(l.complaints(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	defer complaints.Close()
	l.cmd.Stderr = complaints
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
	select {
	case <-l.done:
	case <-time.After(linphoneEnds):
		l.t.Errorf("%s's client does not end: it is killed", l.name)
		_ = l.cmd.Process.Kill()
		<-l.done
	}
	if err := l.cmd.Wait(); err != nil {
		l.t.Logf("%s's client has ended: %v\n%s", l.name, err, l.lastWords())
	}
	l.cmd = nil
}

// complaints is the file with what the client's processes wrote to stderr: where they have crashed, too.
func (l *linphone) complaints() string { return filepath.Join(l.dir, "stderr") }

func (l *linphone) lastWords() []byte {
	words, _ := os.ReadFile(l.complaints())
	return words[max(0, len(words)-20_000):]
}

// gone reports whether the client has ended by itself. If it has crashed, and may, it is started again.
func (l *linphone) gone() bool {
	l.t.Helper()
	select {
	case <-l.done:
	default:
		return false
	}
	err := l.cmd.Wait()
	l.cmd = nil
	var ended *exec.ExitError
	signalled := errors.As(err, &ended) && ended.Sys().(syscall.WaitStatus).Signaled()
	log, _ := os.ReadFile(filepath.Join(l.dir, "log"))
	end := fmt.Sprintf("%s's client has ended: %v\n%s\n%s", l.name, err, l.lastWords(), log[max(0, len(log)-20_000):])
	if !signalled || !l.mayCrash {
		l.t.Fatal(end)
	}
	l.t.Log(end)
	l.crashes++
	l.start()
	return true
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
	line := strings.Join(words, "\t") + "\n"
	l.gone()
	for _, err := io.WriteString(l.in, line); err != nil; _, err = io.WriteString(l.in, line) {
		<-l.done
		l.gone()
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

const (
	linphonePatience = kit.Patience
	// linphoneEnds is how long a client may take to end: it says goodbye to Kamailio, which may be away.
	linphoneEnds = time.Minute
)

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
		if list = nil; l.gone() {
			n = len(l.said())
			l.do("rooms")
		}
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

// linphoneText is a text that a client has.
type linphoneText struct {
	author, text string
	mine         bool   // it is shown as one's own
	quotes       string // the text to which it is a reply; empty: it is none
}

// texts are the texts of a room, in their order, and who has read those of the client's user.
func (l *linphone) texts(ctx context.Context, room string) (list []linphoneText, read []string) {
	l.t.Helper()
	n := len(l.said())
	l.do("texts", room)
	kit.Until(l.t, ctx, l.name+" lists its texts", func() bool {
		list, read = nil, nil
		for _, s := range l.said()[n:] {
			if f := strings.Split(s, "\t"); f[0] == "text" && len(f) == 6 {
				list = append(list, linphoneText{author: f[1], text: f[2], mine: f[3] == "True", quotes: f[5]})
				if f[3] == "True" {
					read = append(read, f[2]+": "+f[4])
				}
			}
			if s == "end" {
				return true
			}
		}
		return false
	})
	return list, read
}

// messageID is the Message-ID of a text that the client has sent.
func (l *linphone) messageID(text string) string {
	l.t.Helper()
	for _, s := range l.said() {
		if f := strings.Split(s, "\t"); f[0] == "sent" && f[1] == text && len(f[2]) > 0 {
			return f[2]
		}
	}
	l.t.Fatalf("%s has not sent %q", l.name, text)
	return ""
}

// traffic is what the client has sent and got so far.
func (l *linphone) traffic() string {
	l.t.Helper()
	log, err := os.ReadFile(filepath.Join(l.dir, "log"))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(log)
}

// TestNativeLinphone: a group is made, changed and left in Linphone: over UDP, TCP and TLS, on two devices of one user,
// and with a plain phone.
func TestNativeLinphone(t *testing.T) {
	w := startNativeKills(t)
	alice, bob, carol, tablet := w.clients[0], w.clients[1], w.clients[2], w.clients[3]
	linphones := w.clients
	const a, b, c, d = "sip:alice@chat.test", "sip:bob@chat.test", "sip:carol@chat.test", "sip:dora@chat.test"
	all := func(title, members string) {
		t.Helper()
		for _, l := range linphones {
			l.sees(title, members)
		}
	}
	alice.do("create", "Growers", b, c)
	all("Growers", a+"* "+b+" "+c)
	tablet.do("title", "Growers", "Tomatoes")
	all("Tomatoes", a+"* "+b+" "+c)
	alice.do("admin", "Tomatoes", b, "1")
	all("Tomatoes", a+"* "+b+"* "+c)
	dora := kit.Registered(t, w.k, evapitest.UAConfig{User: "dora", Domain: "chat.test", Password: "d-secret"})
	bob.do("add", "Tomatoes", d)
	all("Tomatoes", a+"* "+b+"* "+c+" "+d)
	room := alice.address("Tomatoes")

	w.knowsDevices(a, 2)

	// Each says something as soon as the last text has come: so there is one order.
	var said []linphoneText
	for i := range 10 {
		text := fmt.Sprint("text ", i)
		if i%5 == 4 {
			kit.Say(t, dora, room, text, 200)
			said = append(said, linphoneText{author: d, text: text})
		} else {
			linphones[i%5].do("say", "Tomatoes", text)
			said = append(said, linphoneText{author: "sip:" + linphones[i%5].name + "@chat.test", text: text})
		}
		w.haveTexts(room, said)
	}
	// A reply is shown with what it is about: of Linphone, of a plain phone, and on the other device of its author.
	for _, reply := range []struct{ by, author, to, text string }{{by: "carol", author: c, to: "text 1", text: "a reply"},
		{by: "alice", author: a, to: "text 4", text: "another"}, {by: "bob", author: b, to: "text 0", text: "a third"}} {
		i := slices.IndexFunc(linphones, func(l *linphone) bool { return l.name == reply.by })
		linphones[i].do("reply", "Tomatoes", reply.to, reply.text)
		said = append(said, linphoneText{author: reply.author, text: reply.text, quotes: reply.to})
		w.haveTexts(room, said)
	}
	// Typing may be lost: Linphone says it again if it goes on for long.
	typed := time.Time{}
	kit.Eventually(t, "all see that bob is typing", func() bool {
		if time.Since(typed) > time.Second {
			bob.do("type", "Tomatoes")
			typed = time.Now()
		}
		return !slices.ContainsFunc([]*linphone{alice, carol, tablet}, func(l *linphone) bool {
			return !slices.Contains(l.said(), "typing\t"+room+"\t"+b)
		})
	})
	var want, got []string
	for _, s := range said {
		if s.author != d {
			want = append(want, "["+strings.TrimSuffix(strings.TrimPrefix(s.author, "sip:"), "@chat.test")+"]: "+s.text)
		}
	}
	kit.Eventually(t, "dora has all texts", func() bool {
		got = nil
		for _, r := range dora.Received() {
			if strings.HasPrefix(r.Text(), "[") {
				got = append(got, r.Text())
			} else if strings.Contains(string(r.Request.Body()), "imdn") {
				t.Fatalf("dora got %s", r.Request)
			}
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("dora got %q, want %q", got, want)
	}

	// Who has it, and who has read it, hears the author alone, on each device.
	alice.await("state\ttext 0\t6") // delivered to the user
	bob.do("read", "Tomatoes")
	carol.do("read", "Tomatoes")
	for _, l := range []*linphone{alice, tablet} {
		kit.Eventually(t, "both of alice's devices say who has read her text", func() bool {
			_, read := l.texts(kit.Context(t), room)
			return slices.Contains(read, "text 0: "+b+" "+c)
		})
	}
	for _, l := range linphones {
		has := strings.Contains(l.traffic(), "<message-id>"+alice.messageID("text 0")+"</message-id>")
		if has != (l.name == "alice") {
			t.Errorf("%s got a receipt of alice's text: %v", l.name, has)
		}
	}

	bob.stop()
	alice.do("say", "Tomatoes", "while bob is away")
	alice.do("title", "Tomatoes", "Ripe tomatoes")
	alice.sees("Ripe tomatoes", a+"* "+b+"* "+c+" "+d)
	w.must(w.imcd.Kill())
	w.must(w.imcd.Start(kit.Context(t)))
	bob.start()
	said = append(said, linphoneText{author: a, text: "while bob is away"})
	all("Ripe tomatoes", a+"* "+b+"* "+c+" "+d)
	w.haveTexts(room, said)

	bob.do("remove", "Ripe tomatoes", c)
	carol.sees("Ripe tomatoes", "left")
	bob.do("add", "Ripe tomatoes", c)
	all("Ripe tomatoes", a+"* "+b+"* "+c+" "+d)
	tablet.do("leave", "Ripe tomatoes")
	for _, l := range []*linphone{bob, carol} {
		l.sees("Ripe tomatoes", b+"* "+c+" "+d)
	}
	for _, l := range []*linphone{alice, tablet} {
		l.sees("Ripe tomatoes", "left")
	}
	bob.do("remove", "Ripe tomatoes", d)
	bob.sees("Ripe tomatoes", b+"* "+c)
	kit.Say(t, dora, room, "still there?", 403)
}

// haveTexts waits until all clients have just these texts of a room.
func (w *nativeKills) haveTexts(room string, said []linphoneText) {
	w.t.Helper()
	ctx := kit.Within(w.t, linphonePatience)
	for _, l := range w.clients {
		want := slices.Clone(said)
		for i := range want {
			want[i].mine = want[i].author == "sip:"+l.name+"@chat.test"
		}
		var has []linphoneText
		kit.Until(w.t, ctx, fmt.Sprintf("%s has %+v", l.name, want), func() bool {
			has, _ = l.texts(ctx, room)
			return slices.Equal(has, want)
		})
	}
}

// knowsDevices waits until imcd tells n devices of a user apart.
func (w *nativeKills) knowsDevices(user string, n int) {
	w.t.Helper()
	client, err := evapi.Dial(kit.Context(w.t), w.imcd.RPCAddr(), "")
	w.must(err)
	defer client.Close()
	ask := func() int {
		var list []struct{ Registered bool }
		w.must(client.Call(kit.Context(w.t), "imc.devices", []string{user}, &list))
		return len(list)
	}
	kit.Eventually(w.t, "imcd knows the devices of "+user, func() bool { return ask() == n })
	ask() // the answer comes when what was written before is in use
}
