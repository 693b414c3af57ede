package kamailiocfg_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// killsPatience bounds how long clients take to agree after a registration: a TLS client opens its connection again.
const killsPatience = 2 * time.Minute

// nativeKills is a world in which something is killed again and again.
type nativeKills struct {
	*chat
	t       *testing.T
	clients []*linphone
	titles  int
	out     map[string]bool // by room and user: somebody has asked for that
}

// TestNativeKills: clients (in make test-native), and then imcd and Kamailio, are killed at random points while groups
// change. After one registration of all clients, titles, members and roles are the same at all of them and in the
// database, and no kill of a client puts anybody out. IMCD_NATIVE_KILLS sets the number of points (make test-native),
// IMCD_NATIVE_CLIENTS how many of them are clients (a third), IMCD_NATIVE_SEED repeats a run.
func TestNativeKills(t *testing.T) {
	points, restarts, seed := 8, 0, uint64(time.Now().UnixNano())
	if text := os.Getenv("IMCD_NATIVE_KILLS"); text != "" {
		points, _ = strconv.Atoi(text)
		restarts = points / 3
	}
	if text := os.Getenv("IMCD_NATIVE_CLIENTS"); text != "" {
		restarts, _ = strconv.Atoi(text)
	}
	if text := os.Getenv("IMCD_NATIVE_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("IMCD_NATIVE_SEED=%d", seed)
	w := startNativeKills(t)
	for _, l := range w.clients {
		l.mayCrash = true
		defer func() { t.Logf("%s's client has crashed %d times by itself", l.name, l.crashes) }()
	}
	alice, bob := w.clients[0], w.clients[1]
	alice.do("create", "Growers", "sip:bob@chat.test", "sip:carol@chat.test")
	bob.do("create", "Cooks", "sip:alice@chat.test")
	w.agree("at first", func(truth map[string]map[string]string) bool {
		return len(truth["alice"]) == 2 && len(truth["carol"]) == 1
	})
	chance := rand.New(rand.NewPCG(seed, 1))
	for point := range points {
		what := fmt.Sprintf("point %d: ", point)
		for range 1 + chance.IntN(2) {
			what += w.change(chance) + ", "
		}
		wait := time.Duration(chance.IntN(300)) * time.Millisecond
		time.Sleep(wait)
		what += w.kill(chance, point < restarts) + " after " + wait.String()
		t.Log(what)
		w.register()
		out := w.agree(what, nil)
		for _, who := range out {
			if !w.out[who] {
				t.Errorf("%s: out is %s, and nobody wanted that", what, who)
			}
			w.out[who] = true // it is said once
		}
	}
	// What imcd knows is what it has stored.
	w.must(w.imcd.Kill())
	w.must(w.imcd.Start(kit.Context(t)))
	w.register()
	w.agree("at last", nil)
}

func startNativeKills(t *testing.T) *nativeKills {
	t.Helper()
	native, err := evapitest.NativeDiff()
	if err != nil {
		t.Fatal(err)
	}
	tls, err := evapitest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	opts, err := evapitest.Options{Config: stockConfig(t, append(readmeDiffs(t), native)...), Local: authLocal(t) +
		"alias=\"chat.test\"\n#!define IMC_NATIVE\n#!define IMC_DIRECT \"location\"\n"}.WithTLS(tls, "chat.test")
	if err != nil {
		t.Fatal(err)
	}
	c := &chat{k: kit.Kamailio(t, opts), dir: programs.Folder(t)}
	c.imcd = imcdtest.Beside(t, c.k, imcdtest.Options{Dir: c.dir})
	secure := fmt.Sprint("127.0.0.1:", tls)
	return &nativeKills{chat: c, t: t, out: make(map[string]bool), clients: []*linphone{
		newLinphone(t, c.k.SIPAddr(), "alice", "a-secret", "udp"), newLinphone(t, c.k.SIPAddr(), "bob", "b-secret", "tcp"),
		newLinphone(t, secure, "carol", "c-secret", "tls"), newLinphone(t, secure, "alice", "a-secret", "tls")}}
}

func (w *nativeKills) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// change lets somebody do something, and says what. It may be refused: nobody waits for it.
func (w *nativeKills) change(chance *rand.Rand) string {
	l := w.clients[chance.IntN(len(w.clients))]
	rooms := slices.DeleteFunc(l.rooms(kit.Context(w.t)), func(r linphoneRoom) bool { return r.members == "left" })
	w.titles++
	title := fmt.Sprint("Title ", w.titles)
	another := w.clients[chance.IntN(3)].name
	other := "sip:" + another + "@chat.test"
	words := []string{"create", title, other}
	if len(rooms) > 0 && chance.IntN(12) > 0 {
		room := rooms[chance.IntN(len(rooms))]
		words = [][]string{{"title", title}, {"add", other}, {"add", other}, {"remove", other}, {"admin", other, "1"},
			{"admin", other, "0"}, {"leave"}}[chance.IntN(7)]
		// Of a room that ends, devices hear when they send the list of their rooms: when they are started.
		if words[0] == "leave" && !strings.Contains(room.members, " ") {
			words = []string{"add", other}
		}
		switch words[0] {
		case "leave":
			w.out[room.address+" "+l.name] = true
		case "remove":
			w.out[room.address+" "+another] = true
		}
		words = slices.Insert(words, 1, room.address)
	}
	l.do(words...)
	return l.name + " " + strings.Join(words, " ")
}

// kill ends a client, imcd or Kamailio, starts it again, and says what it was.
func (w *nativeKills) kill(chance *rand.Rand, client bool) string {
	switch {
	case client:
		l := w.clients[chance.IntN(len(w.clients))]
		l.stop()
		l.start()
		return l.name + "'s client is restarted"
	case chance.IntN(3) == 0:
		w.must(w.k.Restart(kit.Context(w.t)))
		return "Kamailio is restarted"
	default:
		w.must(w.imcd.Kill())
		w.must(w.imcd.Start(kit.Context(w.t)))
		return "imcd is killed"
	}
}

// register lets all clients register once, and again those whose connection was lost.
func (w *nativeKills) register() {
	w.t.Helper()
	w.must(w.imcd.AwaitReady(kit.Context(w.t)))
	ctx := kit.Within(w.t, killsPatience)
	for clients := w.clients; len(clients) > 0 && ctx.Err() == nil; clients = w.astray() {
		begins := make([]int, len(clients))
		for i, l := range clients {
			begins[i] = len(l.said())
			l.do("register")
		}
		kit.Until(w.t, ctx, "all register", func() bool {
			all := true
			for i, l := range clients {
				if l.gone() {
					begins[i] = len(l.said())
					l.do("register")
				}
				said := l.said()[begins[i]:]
				if failed := slices.Index(said, "registration\t4"); failed >= 0 {
					begins[i] += failed + 1
					l.do("register")
				}
				all = all && slices.Contains(said, "registration\t2")
			}
			return all
		})
	}
}

var (
	registeredPlace = regexp.MustCompile(`(?s)Address: sip:\w+@127[.]0[.]0[.]1:(\d+);transport=(\w+).*?Instance: (\S+)`)
	connectedPlace  = regexp.MustCompile(`src_port: (\d+)`)
)

// astray are the clients that have registered a connection which they had before Kamailio was restarted, as Linphone
// does now and then: nothing reaches them there, no messages either, until they register once more.
func (w *nativeKills) astray() (list []*linphone) {
	w.t.Helper()
	ask := func(command string) string {
		cmd := exec.CommandContext(kit.Context(w.t), "kamcmd", "-s", filepath.Join(w.k.Dir(), "kamailio_ctl"), command)
		out, err := cmd.CombinedOutput()
		if err != nil {
			w.t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	registered, open := ask("ul.dump"), make(map[string]bool)
	for _, c := range connectedPlace.FindAllStringSubmatch(ask("core.tcp_list"), -1) {
		open[c[1]] = true
	}
	there := make(map[string]bool) // by instance
	for _, c := range registeredPlace.FindAllStringSubmatch(registered, -1) {
		there[c[3]] = there[c[3]] || c[2] == "udp" || open[c[1]]
	}
	for _, l := range w.clients {
		if is, known := there["<urn:uuid:"+l.uuid+">"]; known && !is {
			w.t.Logf("%s has registered a connection that is gone", l.name)
			list = append(list, l)
		}
	}
	return list
}

// agree waits until all clients have the rooms that imcd has, and returns those that they have left, with the users; ok
// may be nil.
func (w *nativeKills) agree(when string, ok func(truth map[string]map[string]string) bool) (out []string) {
	w.t.Helper()
	ctx := kit.Within(w.t, killsPatience)
	is, want := make([]map[string]string, len(w.clients)), map[string]map[string]string{}
	w.t.Cleanup(func() {
		for i, l := range w.clients {
			if w.t.Failed() && !maps.Equal(is[i], want[l.name]) {
				w.t.Logf("%s: %s has\n%q, and should have\n%q", when, l.name, is[i], want[l.name])
			}
		}
	})
	kit.Until(w.t, ctx, when+": all agree", func() bool {
		want = w.truth(ctx)
		agree := ok == nil || ok(want)
		out = out[:0]
		for i, l := range w.clients {
			has := make(map[string]string)
			for _, r := range l.rooms(ctx) {
				if r.members == "left" {
					out = append(out, r.address+" "+l.name)
				} else {
					has[r.address] = r.title + ": " + r.members
				}
			}
			is[i] = has
			agree = agree && maps.Equal(is[i], want[l.name])
		}
		return agree
	})
	return out
}

// truth is what each client should have: addresses of rooms, with titles and members.
func (w *nativeKills) truth(ctx context.Context) map[string]map[string]string {
	client, err := evapi.Dial(ctx, w.imcd.RPCAddr(), "")
	w.must(err)
	defer client.Close()
	all := make(map[string]map[string]string)
	for _, user := range []string{"alice", "bob", "carol"} {
		all[user] = make(map[string]string)
		var rooms []struct{ Room, Role string }
		w.must(client.Call(ctx, "imc.user_rooms", []string{"sip:" + user + "@chat.test"}, &rooms))
		for _, r := range rooms {
			var info struct {
				Title   string
				Members []struct{ User, Role string }
			}
			if client.Call(ctx, "imc.room_info", []string{r.Room}, &info) != nil || r.Role == "invited" {
				continue // it is gone since
			}
			var members []string
			for _, m := range info.Members {
				if m.Role == "owner" || m.Role == "admin" {
					m.User += "*"
				}
				if m.Role != "invited" {
					members = append(members, m.User)
				}
			}
			slices.Sort(members)
			all[user][r.Room] = info.Title + ": " + strings.Join(members, " ")
		}
	}
	return all
}
