package phones

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// linphone is linphonec, of Debian's linphone-cli, with its defaults: it acknowledges
// each text.
type linphone struct {
	user    string
	dir     string
	out     *output // standard output
	log     *output // all that liblinphone logs
	program *program
}

// linphoneConfig is what the user would choose in a dialog: account, proxy, password.
// What differs from the defaults keeps it on this host.
const linphoneConfig = `[sip]
bind_address=127.0.0.1
sip_port=-1
sip_tcp_port=-1
sip_tls_port=-1
use_ipv6=0
guess_hostname=0
contact="%[1]s" <sip:%[1]s@127.0.0.1>
root_ca=%[5]s
default_proxy=0
register_only_when_network_is_up=0
keepalive_period=0
[net]
firewall_policy=0
dns_srv_enabled=0
[rtp]
audio_rtp_port=-1
[proxy_default_values]
cpim_in_basic_chat_rooms_enabled=%[6]d
[proxy_0]
reg_proxy=<sip:%[3]s;transport=%[4]s>
reg_route=<sip:%[3]s;transport=%[4]s;lr>
reg_identity=<sip:%[1]s@%[2]s>
reg_sendregister=1
reg_expires=3600
publish=0
[auth_info_0]
username=%[1]s
passwd=%[7]s
realm=%[2]s
domain=%[2]s
`

// newLinphone is linphonec of a user at a server's address; with cpim it wraps all that
// it sends into CPIM.
func (s *site) newLinphone(t *testing.T, user, transport, addr string, cpim bool) *linphone {
	t.Helper()
	l := &linphone{user: user, dir: t.TempDir(), out: newOutput(), log: newOutput()}
	logOnFailure(t, user+"'s linphonec", l.out)
	wrap := 0
	if cpim {
		wrap = 1
	}
	text := fmt.Sprintf(linphoneConfig, user, s.domain, addr, transport, s.cert, wrap, password(user))
	if err := os.WriteFile(filepath.Join(l.dir, "linphonerc"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{".local/share/linphone", ".config/linphone"} {
		if err := os.MkdirAll(filepath.Join(l.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

var (
	linphoneRegistered = "] to [LinphoneRegistrationOk]"
	linphoneSent       = regexp.MustCompile(`moving from InProgress to (\w+)`)
	linphoneAsks       = "Password for "
	linphoneReceived   = "Message received from "
	// What linphonec prints after a message, if not another one.
	linphoneEnd = regexp.MustCompile(`\n(linphonec> |Password for |chat sip:|quit|Terminating|Message received from )`)
)

// online starts the program: a phone that is switched on.
func (l *linphone) online(ctx context.Context) error {
	before := l.registrations()
	var err error
	l.program, err = startProgram(command{
		path: "linphonec", args: []string{"-c", filepath.Join(l.dir, "linphonerc"), "-d", "6", "-l", "/dev/fd/3"},
		dir: l.dir, out: l.out, log: l.log,
	})
	if err != nil {
		return err
	}
	in := l.program
	l.out.whenAsked(linphoneAsks, func() { _ = in.write(password(l.user)) })
	if err := l.log.wait(ctx, func(string) bool { return l.registrations() > before }); err != nil {
		return fmt.Errorf("linphonec does not register: %w", err)
	}
	return nil
}

func (l *linphone) registrations() int {
	log, _ := l.log.text()
	return strings.Count(log, linphoneRegistered)
}

// offline ends the program, which unregisters then.
func (l *linphone) offline(context.Context) error { return l.stop() }

func (l *linphone) stop() error {
	if l.program == nil {
		return nil
	}
	p := l.program
	l.program = nil
	return p.stop("quit")
}

func (l *linphone) say(ctx context.Context, uri, text string) (bool, error) {
	if strings.Contains(text, "\n") {
		return false, fmt.Errorf("linphonec sends only one line")
	}
	if err := l.ready(ctx); err != nil {
		return false, err
	}
	before, _ := l.log.text()
	n := len(linphoneSent.FindAllString(before, -1))
	if err := l.program.write("chat " + uri + " " + text); err != nil {
		return false, err
	}
	var state string
	err := l.log.wait(ctx, func(log string) bool {
		all := linphoneSent.FindAllStringSubmatch(log, -1)
		if len(all) <= n {
			return false
		}
		state = all[n][1]
		return true
	})
	if err != nil {
		return false, fmt.Errorf("linphonec does not say what became of %q: %w", text, err)
	}
	return state == "Delivered", nil
}

// ready waits until linphonec takes commands: it understands a 403 as a word about the
// password, asks for that, and does nothing else meanwhile.
func (l *linphone) ready(ctx context.Context) error {
	log, _ := l.log.text()
	if strings.Count(log, "AuthRequested pushed") > strings.Count(log, "Authentication request not needed") {
		// It asks now, or has done so, or finds out that it need not.
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		_ = l.out.wait(short, func(text string) bool { return strings.Contains(text, linphoneAsks) })
	}
	err := l.out.wait(ctx, func(text string) bool {
		_, after, asked := cutLast(text, linphoneAsks)
		return !asked || strings.Contains(after, "linphonec> ")
	})
	if err != nil {
		return fmt.Errorf("linphonec does not take its password: %w", err)
	}
	return nil
}

// cutLast is strings.Cut at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (l *linphone) received() ([]message, <-chan struct{}) {
	text, change := l.out.text()
	var all []message
	for _, part := range strings.Split(text, linphoneReceived)[1:] {
		from, body, ok := strings.Cut(part, ": ")
		if !ok {
			continue
		}
		if end := linphoneEnd.FindStringIndex(body); end != nil {
			body = body[:end[0]]
		}
		all = append(all, message{from: from, text: strings.TrimSuffix(body, "\n")})
	}
	return all, change
}
