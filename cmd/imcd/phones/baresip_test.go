package phones

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
)

// baresip is Debian's baresip, steered over TCP. All that is known of it comes from its
// trace of SIP messages. It can write to one address only.
type baresip struct {
	dir     string
	room    string
	ctrl    string // address
	out     *output
	program *program
}

const baresipConfig = `sip_listen 127.0.0.1:0
net_interface 127.0.0.1
module_path /usr/lib/baresip/modules
module g711.so
module_app account.so
module_app contact.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen %s
`

// newBaresip is baresip of a user who writes to room, over UDP.
func (s *site) newBaresip(t *testing.T, user, addr, room string) *baresip {
	t.Helper()
	port, err := evapitest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	b := &baresip{dir: t.TempDir(), room: room, ctrl: fmt.Sprintf("127.0.0.1:%d", port), out: newOutput()}
	logOnFailure(t, user+"'s baresip", b.out)
	for file, text := range map[string]string{
		"config": fmt.Sprintf(baresipConfig, b.ctrl),
		"accounts": fmt.Sprintf("<sip:%[1]s@%[2]s>;auth_user=%[1]s;auth_pass=%[3]s;"+
			"outbound=\"sip:%[4]s\";regint=3600;pubint=0\n",
			user, s.domain, password(user), addr),
		"contacts": fmt.Sprintf("\"Room\" <%s>\n", room),
		"uuid":     "00000000-0000-0000-0000-000000000000\n",
	} {
		if err := os.WriteFile(filepath.Join(b.dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// online starts the program: a phone that is switched on.
func (b *baresip) online(ctx context.Context) error {
	before := b.registrations()
	var err error
	b.program, err = startProgram(command{path: "baresip", args: []string{"-f", b.dir, "-s"}, dir: b.dir, out: b.out})
	if err != nil {
		return err
	}
	if err := b.out.wait(ctx, func(string) bool { return b.registrations() > before }); err != nil {
		return fmt.Errorf("baresip does not register: %w", err)
	}
	return nil
}

func (b *baresip) registrations() int {
	text, _ := b.out.text()
	return len(b.responses(text, "REGISTER"))
}

// offline ends the program, which unregisters then.
func (b *baresip) offline(ctx context.Context) error {
	if b.program == nil {
		return nil
	}
	if err := b.command(ctx, "quit", ""); err != nil {
		return err
	}
	p := b.program
	b.program = nil
	return p.stop("")
}

func (b *baresip) stop() error {
	if b.program == nil {
		return nil
	}
	p := b.program
	b.program = nil
	return p.kill()
}

// command has baresip execute a command; it is a netstring of JSON, like the answer.
func (b *baresip) command(ctx context.Context, name, params string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", b.ctrl)
	if err != nil {
		return fmt.Errorf("baresip's control: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return fmt.Errorf("baresip's control: %w", err)
		}
	}
	data, err := json.Marshal(map[string]string{"command": name, "params": params, "token": "t"})
	if err != nil {
		return fmt.Errorf("command of baresip: %w", err)
	}
	if _, err := fmt.Fprintf(conn, "%d:%s,", len(data), data); err != nil {
		return fmt.Errorf("baresip's control: %w", err)
	}
	// Events may come before the answer, which is the end of what is awaited.
	var got strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(got.String(), `"response":true`) {
		n, err := conn.Read(buf)
		got.Write(buf[:n])
		if err == io.EOF && name == "quit" {
			return nil
		}
		if err != nil {
			return fmt.Errorf("answer of baresip to %s: %w: %s", name, err, got.String())
		}
	}
	if !strings.Contains(got.String(), `"ok":true`) {
		return fmt.Errorf("answer of baresip to %s: %s", name, got.String())
	}
	return nil
}

func (b *baresip) say(ctx context.Context, uri, text string) (bool, error) {
	if uri != b.room {
		return false, fmt.Errorf("baresip writes to %s only", b.room)
	}
	before, _ := b.out.text()
	n := len(b.responses(before, "MESSAGE"))
	if err := b.command(ctx, "message", text); err != nil {
		return false, err
	}
	var code int
	err := b.out.wait(ctx, func(text string) bool {
		all := b.responses(text, "MESSAGE")
		if len(all) <= n {
			return false
		}
		code = all[n]
		return true
	})
	if err != nil {
		return false, fmt.Errorf("baresip got no answer to %q: %w", text, err)
	}
	return code/100 == 2, nil
}

// baresipTrace matches a SIP message in the trace: first line, header and body.
var baresipTrace = regexp.MustCompile(`(?s)\x1b\[36;1m#\n\w+ (\S+) -> (\S+)\n([^\r]*)\r\n(.*?)\r\n\r\n(.*?)\x1b\[;m`)

// responses are the final codes that baresip was answered, but for challenges and its
// own answers.
func (b *baresip) responses(text, method string) []int {
	var codes []int
	for _, m := range baresipTrace.FindAllStringSubmatch(text, -1) {
		rest, ok := strings.CutPrefix(m[3], "SIP/2.0 ")
		if !ok || !strings.Contains(m[4], " "+method) || strings.Contains(m[4], "imcopy") {
			continue
		}
		code, err := strconv.Atoi(rest[:min(3, len(rest))])
		if err == nil && code >= 200 && code != 401 && code != 407 {
			codes = append(codes, code)
		}
	}
	return codes
}

func (b *baresip) received() ([]message, <-chan struct{}) {
	text, change := b.out.text()
	var all []message
	for _, m := range baresipTrace.FindAllStringSubmatch(text, -1) {
		// Its own have Route to the proxy.
		if !strings.HasPrefix(m[3], "MESSAGE ") || strings.Contains(m[4], "\r\nRoute:") {
			continue
		}
		all = append(all, message{
			from: header(m[4], "From", "<", ">"), kind: header(m[4], "Content-Type", " ", "\r"), text: m[5],
		})
	}
	return all, change
}

// header is what stands between two marks in a header field's line.
func header(head, name, after, before string) string {
	_, rest, _ := strings.Cut("\r\n"+head+"\r\n", "\r\n"+name+":")
	_, rest, _ = strings.Cut(rest, after)
	rest, _, _ = strings.Cut(rest, before)
	return rest
}
