package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest/kit"
)

// lines is a writer that passes on whole lines.
type lines struct {
	part string
	ch   chan string
}

func (l *lines) Write(b []byte) (int, error) {
	l.part += string(b)
	for {
		line, rest, ok := strings.Cut(l.part, "\n")
		if !ok {
			return len(b), nil
		}
		l.part = rest
		l.ch <- line
	}
}

// sayUntil speaks to a room, which is made if it is missing, until done: a
// watcher that starts or connects again misses what was said before.
func sayUntil(t *testing.T, i *imcdtest.Imcd, room string, done func() bool) {
	t.Helper()
	imcctl(nil, "--rpc", i.RPCAddr(), "create", room)
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("not seen: what was said to " + room)
		}
		if code, _, errs := imcctl(nil, "--rpc", i.RPCAddr(), "say", room, "hello"); code != exitOK {
			t.Fatal(errs)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// TestWatch: events of the rooms that are asked for are printed as they happen,
// also after imcd was restarted.
func TestWatch(t *testing.T) {
	_, i := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	out, errs := &lines{ch: make(chan string, 10000)}, &bytes.Buffer{}
	w := &watch{tool: &tool{out: out, timeout: time.Minute}, http: i.HTTPAddr(), rooms: []string{"watched-*"},
		events: []string{"message"}}
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx, errs) }()
	sees := func(room string) func() bool {
		return func() bool {
			for {
				select {
				case line := <-out.ch:
					if !strings.Contains(line, " message ") || !strings.Contains(line, "watched-") {
						t.Errorf("printed %q", line)
					}
					if strings.Contains(line, room) {
						return true
					}
				default:
					return false
				}
			}
		}
	}
	sayUntil(t, i, "sip:watched-1@x.org", sees("sip:watched-1@x.org"))
	if err := i.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := i.Start(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	sayUntil(t, i, "sip:other@x.org", func() bool { return true })
	sayUntil(t, i, "sip:watched-2@x.org", sees("sip:watched-2@x.org"))
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.Contains(errs.String(), "connecting again") {
		t.Errorf("said %q", errs)
	}
}

// TestWatchSome: --number ends it, --json prints what came.
func TestWatchSome(t *testing.T) {
	_, i := start(t)
	done := make(chan struct{})
	var code int
	var out, errs string
	go func() {
		defer close(done)
		code, out, errs = imcctl(nil, "watch", "--http", i.HTTPAddr(), "--json", "-n", "2", "--events", "message")
	}()
	sayUntil(t, i, "sip:watched@x.org", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	var e event
	first, second, _ := strings.Cut(out, "\n")
	for _, line := range []string{first, second} {
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Event != "message" || e.Sender != "sip:watched@x.org" ||
			e.Size != 5 {
			t.Errorf("printed %q: %v", line, err)
		}
	}
	if code != exitOK || errs != "" {
		t.Errorf("%d %q", code, errs)
	}
}

// TestWatchRefused: the first connection must succeed, and why not is said.
func TestWatchRefused(t *testing.T) {
	_, i := start(t)
	const token = "a-token-of-some-length"
	guarded := standalone(t, "guarded", "IMCD_RPC_TOKEN="+token)
	for _, c := range []struct {
		environ map[string]string
		args    []string
		says    string
	}{
		{nil, []string{"--http", "127.0.0.1:1"}, "is imcd running"},
		{nil, []string{"--http", i.RPCAddr()}, ""},
		{nil, []string{"--http", i.HTTPAddr(), "--events", "massage"}, "there is no event"},
		{nil, []string{"--http", i.HTTPAddr(), "--bodies"}, "event_bodies"},
		{nil, []string{"--http", guarded.HTTPAddr()}, "token"},
		{map[string]string{tokenEnv: "wrong"}, []string{"--http", "http://" + guarded.HTTPAddr() + "/"}, "token"},
		{map[string]string{tokenEnv: token}, []string{"--http", guarded.HTTPAddr(), "--bodies"}, "event_bodies"},
	} {
		code, out, errs := imcctl(c.environ, append([]string{"watch"}, c.args...)...)
		if code != exitError || out != "" || !strings.Contains(errs, c.says) {
			t.Errorf("%v: %d %q %q", c.args, code, out, errs)
		}
	}
}

// TestWatchLines: what is printed has no control characters of clients.
func TestWatchLines(t *testing.T) {
	var out strings.Builder
	w := &watch{tool: &tool{out: &out}}
	for _, e := range []string{
		`{"event":"message","room":"sip:a@x","sender":"sip:b@x","seq":3,"size":5}`,
		`{"event":"message","room":"sip:a@x","sender":"sip:b@x","seq":4,"size":5,"body":"\u001b[2Jone\ntwo"}`,
		`{"event":"join","room":"sip:a@x","user":"sip:b@x","role":"member","by":"sip:c@x"}`,
		`{"event":"leave","room":"sip:a@x","user":"sip:b@x","by":"sip:b@x"}`,
		`{"event":"role","room":"sip:a@x","user":"sip:b@x","role":"admin"}`,
		`{"event":"room_created","room":"sip:a@x","private":true}`,
		`{"event":"room_destroyed","room":"sip:a@x","by":"sip:b@x"}`,
		`{"event":"failure","room":"sip:a@x","member":"sip:b@x","seq":4,"code":404,` +
			`"reason":"not registered","outcome":"offline"}`,
		`{"event":"kamailio","kamailio":"k","up":false}`, `{"event":"news"}`,
	} {
		if err := w.print([]byte(`{"params":` + e + `}`)); err != nil {
			t.Error(err)
		}
	}
	for _, want := range []string{"#3 sip:b@x: 5 bytes of text/plain\n", "one", "sip:b@x as member by sip:c@x\n",
		"sip:b@x\n",
		"sip:b@x is admin\n", "private\n", "by sip:b@x\n", "#4 to sip:b@x: 404 not registered (offline)\n", "k lost\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if strings.Count(out.String(), "\n") != 10 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("printed\n%q", out.String())
	}
}
