package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestPush: a phone that sleeps is woken by a push service, through the example receiver of testdata/pushgate, and
// registers: it has its message then. A receiver that was killed meanwhile, and an imcd that was, lose nothing.
func TestPush(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, secret := filepath.Join(dir, "pushgate"), filepath.Join(dir, "secret")
	if out, err := exec.CommandContext(kit.Within(t, 2*time.Minute), "go", "build", "-buildvcs=false", "-o", program,
		"imcd/testdata/pushgate").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pushed := make(chan string, 10)
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var n struct {
			Message struct {
				Token        string            `json:"token"`
				Notification map[string]string `json:"notification"`
			} `json:"message"`
		}
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			t.Error(err)
		}
		pushed <- n.Message.Token + ": " + n.Message.Notification["title"] + ": " + n.Message.Notification["body"]
	}))
	t.Cleanup(service.Close)
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(secret, "whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n")
	write(filepath.Join(dir, "tokens"), `{"sip:bob@127.0.0.1": "bobs-phone"}`)
	port, err := evapitest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	gate := func() *stack.Child {
		c, err := stack.StartChild(stack.Command{Path: program, Args: []string{"-listen", listen, "-secret", secret,
			"-push", service.URL, "-tokens", filepath.Join(dir, "tokens"), "-try"}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	running := gate()
	t.Cleanup(func() {
		if err := running.Kill(); err != nil {
			t.Error(err)
		}
	})
	s := start(t, "sqlite", stack.Options{Settings: map[string]string{"webhook_url": "http://" + listen + "/",
		"webhook_secret_file": secret, "webhook_quiet": "1s"}})
	alice, bob, room := agent(t, s, "alice"), agent(t, s, "bob"), "sip:chat-push@127.0.0.1"
	speak(t, alice, at(s, room), "#create")
	speak(t, alice, at(s, room), "#set title Garden")
	speak(t, bob, at(s, room), "#join")
	hears(t, bob, "*** You are in chat-push now")
	for i, kill := range []func() error{func() error { return nil }, running.Kill, s.Kill9} {
		if err := bob.Unregister(kit.Context(t)); err != nil {
			t.Fatal(err)
		}
		if err := kill(); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			if err := s.StartImcd(kit.Context(t)); err != nil {
				t.Fatal(err)
			}
		}
		text := fmt.Sprintf("are you there %d", i)
		speak(t, alice, at(s, room), text)
		if i == 1 {
			running = gate()
		}
		select {
		case got := <-pushed:
			if want := "bobs-phone: Garden: 1 new, the last of "; !strings.HasPrefix(got, want) {
				t.Errorf("pushed %q, want %q", got, want)
			}
		case <-kit.Within(t, time.Minute).Done():
			t.Fatalf("the phone is not woken\n%s", s.LogTail())
		}
		if err := bob.Register(kit.Context(t)); err != nil {
			t.Fatal(err)
		}
		hears(t, bob, "[alice]: "+text)
		for len(pushed) > 0 { // a second one, if waking took longer than webhook_quiet
			<-pushed
		}
	}
}

// TestWebhookHangs: a receiver that takes connections and never answers does not slow messages down.
func TestWebhookHangs(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	hangs, events := make(chan struct{}), 0
	close(hangs) // it does not hang
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var b struct{ Data struct{ Events []any } }
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			t.Error(err)
		}
		mu.Lock()
		wait := hangs
		events += len(b.Data.Events)
		mu.Unlock()
		select {
		case <-wait:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	s := start(t, "postgres", stack.Options{DBURL: schematest.NewDatabase(t), Binary: plain.Path(t),
		Settings: map[string]string{"webhook_url": server.URL,
			"webhook_secret": base64.StdEncoding.EncodeToString(make([]byte, 32))}})
	alice, bob, room := agent(t, s, "alice"), agent(t, s, "bob"), "sip:chat-hang@127.0.0.1"
	speak(t, alice, at(s, room), "#create")
	speak(t, bob, at(s, room), "#join")
	const n = 150
	measure := func() (all []time.Duration) {
		for i := range n {
			began := time.Now()
			speak(t, alice, at(s, room), fmt.Sprintf("message %d", i))
			all = append(all, time.Since(began))
		}
		slices.Sort(all)
		return all
	}
	hang := func() (release func()) {
		mu.Lock()
		defer mu.Unlock()
		hangs = make(chan struct{})
		return sync.OnceFunc(func() { close(hangs) })
	}
	measure() // everything is warm
	// By turns, so that a busy machine is to both; a disturbance that all rounds have is imcd's.
	const rounds = 3
	var answering, hanging times
	for range rounds {
		answering.add(measure())
		release := hang()
		t.Cleanup(release)
		hanging.add(measure())
		release()
	}
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d events sent; while the receiver answers: median %v, p99 %v; while it hangs: %v, %v", events,
		answering.median, answering.p99, hanging.median, hanging.p99)
	if events < 2*n {
		t.Errorf("%d events came", events)
	}
	if hanging.median[0] > 2*answering.median[0] {
		t.Errorf("messages take %v, and %v while the receiver hangs", answering.median[0], hanging.median[0])
	}
	if least, hung := slices.Min(answering.p99), slices.Min(hanging.p99); hung > 3*least {
		t.Errorf("the slowest messages take %v, and %v while the receiver hangs", least, hung)
	}
}

// times are of several rounds.
type times struct{ median, p99 []time.Duration }

func (t *times) add(round []time.Duration) {
	t.median = append(t.median, round[len(round)/2])
	t.p99 = append(t.p99, round[len(round)*99/100])
}
