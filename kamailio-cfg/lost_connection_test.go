package kamailiocfg_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// lostRoom is where everybody is in these tests.
const lostRoom = "sip:chat-lost@chat.test"

// lane is one way of copies through a Kamailio.
type lane struct {
	name   string
	fanout string
	demo   bool // else stock
	direct bool // with IMC_DIRECT; demo.cfg has it
}

func (l lane) direct2() bool { return l.direct && !l.demo }

var lanes = []lane{
	{name: "stock sip", fanout: "sip"}, {name: "stock batch", fanout: "batch"}, {name: "stock rpc", fanout: "rpc"},
	{name: "direct sip", fanout: "sip", direct: true}, {name: "direct", fanout: "direct", direct: true},
	{name: "demo", fanout: "auto", demo: true, direct: true},
}

// startLane starts a Kamailio and an imcd with settings, from programs in dir.
func startLane(t *testing.T, dir string, l lane, opts evapitest.Options, environ ...string) (*evapitest.Kamailio,
	*imcdtest.Imcd) {
	t.Helper()
	opts.Local += "alias=\"chat.test\"\n"
	if l.direct2() {
		opts.IMCLocal += "#!define IMC_DIRECT \"location\"\n"
	}
	k := kit.Kamailio(t, opts)
	return k, imcdtest.Beside(t, k, imcdtest.Options{Dir: dir, Name: fmt.Sprint("state", k.SIPAddr()),
		Args: []string{"--fanout", l.fanout}, Environ: environ})
}

// couple registers alice, by UDP, and bob, who both enter the room.
func couple(t *testing.T, k *evapitest.Kamailio, bobs evapitest.UAConfig) (alice, bob *evapitest.UA) {
	t.Helper()
	alice = kit.Registered(t, k, evapitest.UAConfig{User: "alice", Domain: "chat.test"})
	bobs.User, bobs.Domain = "bob", "chat.test"
	if bobs.Proxy == "" {
		bobs.Proxy = k.SIPAddr()
	}
	bob = kit.UA(t, bobs)
	if err := bob.Register(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, say(t, alice, lostRoom, "#create"), 200)
	expect(t, say(t, bob, lostRoom, "#join"), 200)
	getsText(t, bob, "You are in", 5*time.Second)
	return alice, bob
}

// getsText waits until u has a text of the room and returns how long that took.
func getsText(t *testing.T, u *evapitest.UA, text string, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(kit.Context(t), within)
	defer cancel()
	_, err := u.Wait(ctx, func(all []evapitest.Received) bool {
		for _, r := range all {
			if strings.Contains(r.Text(), text) {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Errorf("%s: %q did not come within %v", u.AOR(), text, within)
	}
	return time.Since(began)
}

// TestConnectionLost: the connection of a phone is gone while its registration lasts. What
// is said meanwhile, and was answered 200, is there within 2 s of its next registration,
// also if that comes while Kamailio still tries the old connection. With every transport
// that has connections, on every lane.
func TestConnectionLost(t *testing.T) {
	dir, diffs := programs.Folder(t), readmeDiffs(t)
	for _, l := range lanes {
		t.Run(l.name, func(t *testing.T) {
			ports, err := evapitest.FreePorts(2)
			if err != nil {
				t.Fatal(err)
			}
			opts := evapitest.Options{}
			if !l.demo {
				opts.Config = stockConfig(t, diffs...)
			}
			opts, err = opts.WithWebSocket(ports[0]).WithTLS(ports[1], "chat.test")
			if err != nil {
				t.Fatal(err)
			}
			k, _ := startLane(t, dir, l, opts)
			alice := kit.Registered(t, k, evapitest.UAConfig{User: "alice", Domain: "chat.test"})
			expect(t, say(t, alice, lostRoom, "#create"), 200)
			var phones []*evapitest.UA
			for transport, proxy := range map[string]string{"tcp": k.SIPAddr(),
				"ws": fmt.Sprint("127.0.0.1:", ports[0]), "tls": fmt.Sprint("127.0.0.1:", ports[1])} {
				u := kit.UA(t, evapitest.UAConfig{User: transport, Domain: "chat.test", Transport: transport,
					Proxy: proxy})
				if err := u.Register(kit.Context(t)); err != nil {
					t.Fatal(err)
				}
				expect(t, say(t, u, lostRoom, "#join"), 200)
				getsText(t, u, "You are in", 5*time.Second)
				phones = append(phones, u)
			}
			connectionsLost(t, alice, phones)
		})
	}
}

// connectionsLost cuts all phones off twice: to be back at once, and when Kamailio has
// noticed.
func connectionsLost(t *testing.T, alice *evapitest.UA, phones []*evapitest.UA) {
	t.Helper()
	for i, pause := range []time.Duration{0, 700 * time.Millisecond} {
		for _, u := range phones {
			if err := u.Hangup(); err != nil {
				t.Fatal(err)
			}
		}
		texts := []string{fmt.Sprint("message ", 2*i), fmt.Sprint("message ", 2*i+1)}
		expect(t, say(t, alice, lostRoom, texts[0]), 200)
		<-time.After(pause)
		expect(t, say(t, alice, lostRoom, texts[1]), 200)
		for _, u := range phones {
			if err := u.Register(kit.Context(t)); err != nil {
				t.Fatal(err)
			}
			for _, text := range texts {
				took := getsText(t, u, text, 2*time.Second)
				t.Logf("%s: %q came %v after the registration", u.AOR(), text, took)
			}
		}
	}
}

// answerOnce answers the first copy of each message by a status, and repetitions by 200.
type answerOnce struct {
	mu   sync.Mutex
	code int            // guarded by mu
	had  map[string]int // guarded by mu; times, by Call-ID
	got  map[string]int // guarded by mu; texts that were answered 200
}

func (a *answerOnce) answer(req *sip.Request) evapitest.Reply {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := req.CallID().Value()
	if a.had[id]++; a.had[id] == 1 && a.code != 0 {
		return evapitest.Reply{Code: a.code}
	}
	_, text, _ := strings.Cut(string(req.Body()), "]: ")
	a.got[text]++
	return evapitest.Reply{Code: 200}
}

func (a *answerOnce) set(code int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.code = code
}

func (a *answerOnce) has(text string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.got[text]
}

// TestAnsweredOnce: nothing is lost by one status of the path, of a script or of a user
// who is busy, and nothing comes twice.
func TestAnsweredOnce(t *testing.T) {
	dir, diffs := programs.Folder(t), readmeDiffs(t)
	for _, l := range []lane{lanes[0], lanes[1], lanes[3]} {
		t.Run(l.name, func(t *testing.T) {
			k, _ := startLane(t, dir, l, evapitest.Options{Config: stockConfig(t, diffs...)},
				"IMCD_RETRY_MIN=50ms", "IMCD_RETRY_MAX=100ms", "IMCD_OFFLINE_RETRY=100ms")
			alice, bob := couple(t, k, evapitest.UAConfig{})
			once := &answerOnce{had: map[string]int{}, got: map[string]int{}}
			bob.SetAnswer(once.answer)
			for _, code := range []int{302, 400, 403, 404, 405, 408, 430, 473, 476, 477, 478, 479, 480, 486, 500, 503,
				600, 603} {
				text := fmt.Sprint("answered by ", code)
				once.set(code)
				expect(t, say(t, alice, lostRoom, text), 200)
				ctx, cancel := context.WithTimeout(kit.Context(t), 5*time.Second)
				poll := time.NewTicker(5 * time.Millisecond)
				for once.has(text) == 0 && ctx.Err() == nil {
					select {
					case <-poll.C:
					case <-ctx.Done():
					}
				}
				poll.Stop()
				cancel()
				if n := once.has(text); n != 1 {
					t.Errorf("%q came %d times", text, n)
				}
			}
		})
	}
}

// checkSays looks for a line of imcctl check.
func checkSays(t *testing.T, dir string, k *evapitest.Kamailio, imcd *imcdtest.Imcd, want string) {
	t.Helper()
	cmd := exec.CommandContext(kit.Context(t), filepath.Join(dir, "imcctl"), "check", "--rpc", imcd.RPCAddr(),
		"--sip", k.SIPAddr())
	cmd.Env = imcdtest.Environ("IMCD_EVAPI="+k.EvapiAddr(), "IMCD_EVAPI_SECRET="+k.Secret(), "IMCD_STATE_DIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("imcctl check: %v, without %q:\n%s", err, want, out)
	}
}

// TestTwoEdits: without route(IMC_REGISTERED), who was away for one message has live
// messages within 10 s of being back.
func TestTwoEdits(t *testing.T) {
	dir, diffs := programs.Folder(t), readmeDiffs(t)
	k, imcd := startLane(t, dir, lanes[0], evapitest.Options{Config: stockConfig(t, diffs[0])})
	checkSays(t, dir, k, imcd, "nobody has registered since Kamailio's start")
	alice, bob := couple(t, k, evapitest.UAConfig{})
	checkSays(t, dir, k, imcd, "imcd heard of none: route(IMC_REGISTERED) is missing")
	if err := bob.Unregister(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, say(t, alice, lostRoom, "while away"), 200)
	if err := bob.Register(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for n := 0; n < 20; n++ {
		expect(t, say(t, alice, lostRoom, fmt.Sprint("live ", n)), 200)
		<-tick.C
		all := bob.Received()
		if len(all) > 0 && strings.Contains(all[len(all)-1].Text(), "live") {
			break
		}
	}
	getsText(t, bob, "while away", time.Millisecond)
	getsText(t, bob, "live 0", time.Millisecond)
	t.Logf("live messages came %v after the registration", time.Since(began))
	// A request of the member ends the wait at once.
	if err := bob.Unregister(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, say(t, alice, lostRoom, "away again"), 200)
	if err := bob.Register(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, say(t, bob, lostRoom, "I am back"), 200)
	getsText(t, bob, "away again", 3*time.Second)
}
