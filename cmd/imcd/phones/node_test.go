package phones

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// node is a user agent for browsers that runs in Node: JsSIP or SIP.js.
type node struct {
	script  string // file in testdata/node
	args    []string
	dir     string
	out     *output
	program *program
	ids     int
}

// nodeEvent is a line that a driver prints.
type nodeEvent struct {
	Registered *bool   `json:"registered"`
	Said       int     `json:"said"`
	Code       int     `json:"code"`
	From       string  `json:"from"`
	Type       string  `json:"type"`
	Text       *string `json:"text"`
}

// newNode is a user agent of that name (jssip, sipjs) at a WebSocket server's address.
func (s *site) newNode(t *testing.T, library, user, addr string) *node {
	t.Helper()
	script, err := filepath.Abs(filepath.Join("testdata", "node", library+".mjs"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(script), "node_modules")); err != nil {
		t.Fatalf("Node's modules are not installed (.ci/deps.sh test): %v", err)
	}
	n := &node{script: script, dir: t.TempDir(), out: newOutput(),
		args: []string{"ws://" + addr, fmt.Sprintf("sip:%s@%s", user, s.domain), password(user)}}
	logOnFailure(t, user+"'s "+library, n.out)
	return n
}

func (n *node) online(ctx context.Context) error {
	before := n.registrations()
	var err error
	if n.program == nil {
		args := append([]string{n.script}, n.args...)
		n.program, err = startProgram(command{path: "node", args: args, dir: n.dir, out: n.out})
	} else {
		err = n.do(map[string]any{"do": "register"})
	}
	if err != nil {
		return err
	}
	return n.registered(ctx, true, before+1)
}

func (n *node) offline(ctx context.Context) error {
	before := n.changes(false)
	if err := n.do(map[string]any{"do": "unregister"}); err != nil {
		return err
	}
	return n.registered(ctx, false, before+1)
}

// registered waits for the nth registration, or for the nth time that it ended.
func (n *node) registered(ctx context.Context, is bool, nth int) error {
	if err := n.out.wait(ctx, func(string) bool { return n.changes(is) >= nth }); err != nil {
		return fmt.Errorf("%s is not registered %v: %w", n.script, is, err)
	}
	return nil
}

func (n *node) registrations() int { return n.changes(true) }

// changes counts the times that the client was registered, or was not any more.
func (n *node) changes(is bool) int {
	count := 0
	for _, e := range n.events() {
		if e.Registered != nil && *e.Registered == is {
			count++
		}
	}
	return count
}

// events are all that the driver has printed, without the library's own words.
func (n *node) events() []nodeEvent {
	text, _ := n.out.text()
	var all []nodeEvent
	for line := range strings.Lines(text) {
		var e nodeEvent
		if strings.HasSuffix(line, "}\n") && json.Unmarshal([]byte(line), &e) == nil {
			all = append(all, e)
		}
	}
	return all
}

func (n *node) do(c map[string]any) error {
	line, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("command for %s: %w", n.script, err)
	}
	return n.program.write(string(line))
}

func (n *node) say(ctx context.Context, uri, text string) (bool, error) {
	return n.send(ctx, uri, "text/plain", text)
}

// send sends a body of any type.
func (n *node) send(ctx context.Context, uri, contentType, body string) (bool, error) {
	n.ids++
	id, code := n.ids, 0
	if err := n.do(map[string]any{"do": "say", "id": id, "to": uri, "text": body, "type": contentType}); err != nil {
		return false, err
	}
	err := n.out.wait(ctx, func(string) bool {
		for _, e := range n.events() {
			if e.Said == id {
				code = e.Code
				return true
			}
		}
		return false
	})
	if err != nil {
		return false, fmt.Errorf("%s got no answer to %q: %w", n.script, body, err)
	}
	return code/100 == 2, nil
}

func (n *node) received() ([]message, <-chan struct{}) {
	_, change := n.out.text()
	var all []message
	for _, e := range n.events() {
		if e.Text != nil {
			all = append(all, message{from: e.From, kind: e.Type, text: *e.Text})
		}
	}
	return all, change
}

func (n *node) stop() error {
	if n.program == nil {
		return nil
	}
	p := n.program
	n.program = nil
	return p.stop("")
}
